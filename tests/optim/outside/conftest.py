"""Leave out the tests that need expecttest if it is not installed.

Torch describes its optimizers to its tests in a package that imports it. The extra [dev] has it.
"""

import importlib
from importlib.util import find_spec
from unittest.mock import patch

collect_ignore = []
if find_spec("expecttest"):
    # Importing it would forbid all in this process to set a flag of torch.backends, which other
    # tests have not asked for.
    with patch("torch.backends.disable_global_flags"):
        importlib.import_module("torch.testing._internal.common_utils")
else:
    collect_ignore.append("_infos.py")  # It cannot be imported then.

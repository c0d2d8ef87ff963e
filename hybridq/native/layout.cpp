// The version and the sizes of the structs that cross the border to Python, for it to compare
// (hybridq/native/layout.py): a library of other sources would read memory that is not there.
#include <cstddef>

#include "attention_call.h"
#include "circuit_program.h"
#include "export.h"

// Raise it at any change of a struct or of what a kernel makes of it, here and in
// hybridq/native/layout.py.
#ifndef HQ_LAYOUT_VERSION
#define HQ_LAYOUT_VERSION 1
#endif

namespace hq {

struct LayoutEntry {
  const char* name;
  int64_t value;
};

static_assert(sizeof(circuits::Call<float>) == sizeof(circuits::Call<double>));

const LayoutEntry kLayout[] = {
    {"version", HQ_LAYOUT_VERSION},
    {"circuits.List", sizeof(circuits::List<double>)},
    {"circuits.Term", sizeof(circuits::Term)},
    {"circuits.Step", sizeof(circuits::Step)},
    {"circuits.Program", sizeof(circuits::Program)},
    {"circuits.Call", sizeof(circuits::Call<float>)},
    {"attention.Array", sizeof(attention::Array)},
    {"attention.Call", sizeof(attention::Call)},
    {nullptr, 0},  // the end
};

// The entries, up to one without a name.
HQ_EXPORT const LayoutEntry* hq_layout() { return kLayout; }

}  // namespace hq

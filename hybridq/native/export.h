// What a library shows to the outside. All else is hidden (-fvisibility=hidden in setup.py).
#pragma once

#define HQ_EXPORT extern "C" __attribute__((visibility("default")))

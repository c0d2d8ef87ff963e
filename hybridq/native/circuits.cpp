// Many small circuits, forward and backward.
//
// Layout: a block is as many circuits as a register has lanes; amplitude k of all of them is one register, so that every
// operation of the program is a few vector instructions, whatever the gate. The states of a block, 2^n registers for each of
// re and im of psi and lambda, stay in the nearest cache (4 KB at 4 qubits); rotations act on 2^K amplitudes in registers.
// Cost of a rotation: 4 * 2^n operations forward, about 14 * 2^n backward with the run forward, over the number of lanes.
#include "block.h"

HQ_KERNEL(circuits_f32, float, hq::Vec<float>)
HQ_KERNEL(circuits_f64, double, hq::Vec<double>)

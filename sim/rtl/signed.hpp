// Verilator's operations on signed numbers of fewer bits than a register has, in the form that compilers make single
// instructions of: shifting up and down instead of setting the upper bits by mask. Included before each generated file.
#pragma once

#include "verilated.h"

namespace tilewright {

inline IData extend(int bits, IData value) { return IData(int32_t(value << (32 - bits)) >> (32 - bits)); }
inline QData extend(int bits, QData value) { return QData(int64_t(value << (64 - bits)) >> (64 - bits)); }
inline int32_t number(int bits, IData value) { return int32_t(extend(bits, value)); }
inline int64_t number(int bits, QData value) { return int64_t(extend(bits, value)); }

}  // namespace tilewright

#define VL_EXTENDS_II(to, bits, value) ::tilewright::extend(bits, IData(value))
#define VL_EXTENDS_QI(to, bits, value) ::tilewright::extend(bits, QData(value))
#define VL_EXTENDS_QQ(to, bits, value) ::tilewright::extend(bits, QData(value))
#define VL_MULS_III(bits, x, y) IData(::tilewright::number(bits, IData(x)) * ::tilewright::number(bits, IData(y)))
#define VL_MULS_QQQ(bits, x, y) QData(::tilewright::number(bits, QData(x)) * ::tilewright::number(bits, QData(y)))
#define VL_GTS_III(bits, x, y) IData(::tilewright::number(bits, IData(x)) > ::tilewright::number(bits, IData(y)))
#define VL_LTS_III(bits, x, y) IData(::tilewright::number(bits, IData(x)) < ::tilewright::number(bits, IData(y)))

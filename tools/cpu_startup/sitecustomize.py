"""Start an engine on a CPU: every Python with this folder in PYTHONPATH imports it.

Collect garbage less often: while an engine is imported, nearly all objects stay, and
looking through them again and again takes a fifth of the time of a start.

Ask the kernel for the tile registers of AMX: vLLM 0.32 uses them where the CPU has
them, without asking. Only PyTorch's compiler asks, so that an engine that does not
compile would end with its first request, by SIGILL.
"""

from __future__ import annotations

import ctypes
import gc
import os
from typing import Final

# From Linux' asm/prctl.h and asm/fpu/types.h; the permission ends with an exec.
_SYS_ARCH_PRCTL: Final = 158
_ARCH_REQ_XCOMP_PERM: Final = 0x1023
_XFEATURE_XTILE_DATA: Final = 18

gc.set_threshold(100_000, 50, 100)

if os.uname().machine == "x86_64":
    # An error says that the CPU or the kernel does not have them.
    ctypes.CDLL(None).syscall(
        _SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILE_DATA
    )

"""torchvision.models, imported without PyTorch's compiler.

torchvision asks the compiler, torch._dynamo, one thing about an operator that no classifier has.
Importing it costs 2 s of CPU time, in each of some 60 processes of a study.
"""

import sys
from types import ModuleType

COMPILER = "torch._dynamo.utils"

is_imported = COMPILER in sys.modules
if not is_imported:
    sys.modules[COMPILER] = ModuleType(COMPILER)
    sys.modules[COMPILER].is_compile_supported = lambda device: False
from torchvision import models  # noqa: E402

if not is_imported:
    del sys.modules[COMPILER]

__all__ = ["models"]

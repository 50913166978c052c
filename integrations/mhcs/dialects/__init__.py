"""Other servers' requests and answers, as a ready pair of formatters.

CUSTOM_PRE_PROCESS=mhcs.dialects:inputs_parameters
CUSTOM_POST_PROCESS=mhcs.dialects:inputs_parameters
MHCS_DIALECT=lmi
"""

from .formatters import InputsParameters

#: The name in the variables. A class: the server makes an instance when it starts.
inputs_parameters = InputsParameters

__all__ = ["inputs_parameters"]

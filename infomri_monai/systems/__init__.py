"""One file per method: which policy, measurement and networks it wires, and what a forward pass returns."""

from infomri_monai.systems.reconstruction import ReconstructionResult, ReconstructionSystem, parameter_groups

__all__ = ["ReconstructionResult", "ReconstructionSystem", "parameter_groups"]

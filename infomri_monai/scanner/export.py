"""The command that writes a policy's masks to files: ``infomri-export-masks --help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from monai.utils import OptionalImportError

from infomri_monai.sampling.checkpoint import load_policy
from infomri_monai.scanner.gradient_echo import GradientEcho
from infomri_monai.scanner.mask_files import FORMATS, write_masks
from infomri_monai.scanner.ordering import ORDERINGS

__all__ = ["main"]

#: option -> argument of GradientEcho and what it is
_PROTOCOL = {
    "--te": ("te_ms", "echo time, ms"),
    "--tr": ("tr_ms", "repetition time, ms"),
    "--flip-angle": ("flip_angle_deg", "degrees"),
    "--slice-thickness": ("slice_thickness_mm", "mm"),
    "--dwell": ("dwell_us", "time per read-out sample, us"),
    "--rf-duration": ("rf_ms", "duration of the excitation, ms"),
    "--dummies": ("dummies", "excitations before the first line"),
    "--max-grad": ("max_grad", "gradient limit, mT/m"),
    "--max-slew": ("max_slew", "slew rate limit, T/m/s"),
    "--rf-dead-time": ("rf_dead_us", "us"),
    "--rf-ringdown-time": ("rf_ringdown_us", "us"),
    "--adc-dead-time": ("adc_dead_us", "us"),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="infomri-export-masks",
        description="Write a policy's masks.",
        epilog="Also python -m infomri_monai.scanner.export.",
    )
    parser.add_argument("--checkpoint", required=True, help="policy saved by save_policy")
    parser.add_argument("--ratios", required=True, nargs="+", type=float, help="sampling ratios in (0, 1]")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", nargs="+", type=int, help="grid of the images; trained patterns are interpolated")
    parser.add_argument("--formats", nargs="+", default=["npz", "png"], choices=list(FORMATS))
    parser.add_argument("--ordering", default="sequential", choices=list(ORDERINGS), help="of csv and seq")
    parser.add_argument("--shots", type=int, default=1, help="shots of the interleaved ordering, at least 2")
    sequence = parser.add_argument_group("protocol of the format seq")
    sequence.add_argument("--fov", nargs="+", type=float, help="field of view along both axes of the grid, mm")
    for option, (name, text) in _PROTOCOL.items():
        default = getattr(GradientEcho, name)
        sequence.add_argument(option, dest=name, type=type(default), help=f"{text} (default {default:g})")
    return parser


def _protocol(given: argparse.Namespace) -> GradientEcho | None:
    """The protocol, where a sequence is wanted."""
    options = {name: value for name, _ in _PROTOCOL.values() if (value := getattr(given, name)) is not None}
    if "seq" not in given.formats:
        if options or given.fov is not None:
            raise ValueError("options of the protocol need --formats seq.")
        return None
    if given.fov is None or len(given.fov) > 2:
        raise ValueError("--fov is needed for the format seq: one or two sizes in mm.")
    return GradientEcho(fov_mm=(given.fov[0], given.fov[-1]), **options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of :func:`write_masks`."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        if not given.out.strip():
            raise ValueError("--out must name a folder, got an empty text.")
        protocol = _protocol(given)
        policy = load_policy(given.checkpoint)
        grid = given.grid or policy.grid
        if grid is None:
            raise ValueError(f"--grid is needed: {type(policy).__name__} fits any grid.")
        options = {"ordering": given.ordering, "shots": given.shots, "protocol": protocol}
        policy = policy.for_grid(grid)
        paths = write_masks(policy, given.ratios, grid, given.out, given.seed, given.formats, **options)
    except (ValueError, OSError, OptionalImportError) as error:
        parser.error(str(error))
    print(*paths, sep="\n")


if __name__ == "__main__":
    main()

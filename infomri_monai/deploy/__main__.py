"""The three applications behind one command: ``infomri-deploy NAME -i IN -o OUT -m MODELS``."""

from __future__ import annotations

from infomri_monai.deploy.launch import end_quietly, raise_stack_limit

__all__ = ["main"]

#: subcommand -> what the application makes of a study
APPLICATIONS = {
    "reconstruction": "an MR image and its standard deviation per pixel from undersampled k-space",
    "segmentation": "segmentations with their disagreement, and whether somebody should look at them",
    "privacy-classification": "a diagnosis and its uncertainty from as little k-space as it needs",
}


def main() -> None:
    """Run the application that is named first with the arguments that follow, and end with its exit code."""
    end_quietly()
    raise_stack_limit()
    import argparse

    from infomri_monai.deploy.command import QuietParser, run_application

    width = max(map(len, APPLICATIONS))
    listed = "\n".join(f"  {name:{width}}  {makes}" for name, makes in APPLICATIONS.items())
    parser = QuietParser(
        prog="infomri-deploy",
        usage=f"infomri-deploy {{{','.join(APPLICATIONS)}}} -i INPUT -o OUTPUT -m MODEL [options]",
        description=f"Run a bundle on DICOM series and raw k-space; results are DICOM objects.\n\napplications:\n{listed}",
        epilog="The options of one: infomri-deploy segmentation --help. Each is also python -m infomri_monai.deploy.<name>.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("application", choices=list(APPLICATIONS), help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="its options", help=argparse.SUPPRESS)
    given = parser.parse_args()
    run_application(given.application.replace("-", "_"), given.arguments)


if __name__ == "__main__":
    main()

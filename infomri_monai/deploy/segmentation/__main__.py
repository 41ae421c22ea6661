"""``python -m infomri_monai.deploy.segmentation -i IN -o OUT -m MODELS``."""

from infomri_monai.deploy.launch import end_quietly, raise_stack_limit

end_quietly()
raise_stack_limit()

from pathlib import Path  # noqa: E402

from infomri_monai.deploy.command import run_application  # noqa: E402


def _objects() -> object:
    from infomri_monai.deploy.segmentation.objects import build_objects

    return build_objects


if __name__ == "__main__":
    run_application("segmentation", "segmentation", _objects, Path(__file__).parent)

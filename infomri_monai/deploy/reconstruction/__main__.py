"""``python -m infomri_monai.deploy.reconstruction -i IN -o OUT -m MODELS``."""

from infomri_monai.deploy.launch import end_quietly, raise_stack_limit

if __name__ == "__main__":
    end_quietly()
    raise_stack_limit()

    from infomri_monai.deploy.command import run_application

    run_application("reconstruction")

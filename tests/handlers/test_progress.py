"""What is seen of a run: a bar on a terminal and nowhere else, lines in the log, a time left that comes true."""

from __future__ import annotations

import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helper import refuses
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import ValidationHandler
from torch import nn

from infomri_monai.handlers import Progress

TRAIN, VALIDATE = 1.0, 3.0  # seconds of an iteration by the clock of these tests
HERE = Path(__file__)


class Clock:
    """A clock that stands still until a network runs."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(nn.Module):
    """A network that takes its time; the first call takes longer."""

    def __init__(self, clock):
        super().__init__()
        self.layer, self.clock, self.calls = nn.Linear(2, 1), clock, 0

    def forward(self, image):
        self.clock.now += (TRAIN if self.training else VALIDATE) + (5.0 if self.calls == 0 else 0.0)
        self.calls += 1
        return self.layer(image)


def batches(number):
    return [{"image": torch.ones(1, 2), "label": torch.zeros(1, 1)}] * number


def trainer_of(clock, epochs=6, interval=2, length=4, handlers=(), network=None):
    """A trainer of so many epochs with a validation of two batches, and its progress."""
    network = network or Slow(clock)
    validator = SupervisedEvaluator(device=torch.device("cpu"), val_data_loader=batches(2), network=network)
    progress = Progress(validator=validator, val_interval=interval, clock=clock)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=batches(length),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.25),
        loss_function=nn.MSELoss(),
        train_handlers=[ValidationHandler(interval, validator), progress, *handlers],
        decollate=False,
    )
    return trainer, progress


class Note:
    """Notes the clock and the time left at the end of every epoch."""

    def __init__(self, clock):
        self.clock, self.notes, self.progress = clock, [], None

    def attach(self, engine):
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine):
        self.notes.append((self.clock(), self.progress.seconds_left(engine)))


def left_and_truth(interval, epochs=6):
    clock = Clock()
    note = Note(clock)
    trainer, note.progress = trainer_of(clock, epochs, interval, handlers=[note])
    trainer.run()
    end = clock()
    return [(left, end - now) for now, left in note.notes]


def test_the_time_left_comes_true_once_a_validation_was_seen():
    for left, truth in left_and_truth(interval=1):
        assert left == pytest.approx(truth)
    for left, truth in left_and_truth(interval=2)[1:]:
        assert left == pytest.approx(truth)


def test_after_the_first_epoch_it_is_right_within_a_factor_of_two_before_any_validation():
    left, truth = left_and_truth(interval=2)[0]
    assert truth / 2 < left < 2 * truth


def test_a_slow_first_iteration_does_not_count(caplog):
    caplog.set_level(logging.INFO, "infomri_monai")
    trainer_of(Clock(), epochs=2, interval=1)[0].run()
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert lines[0] == "training: starts at epoch 1 of 2, 4 iterations"
    assert lines[1] == "training: first of 4 iterations done after 6.0 s"
    assert re.fullmatch(r"training: epoch 1 of 2: loss [\d.e-]+, learning rate 0.25, 15 s, about 10 s left", lines[2])
    assert re.fullmatch(r"training: epoch 2 of 2: loss [\d.e-]+, learning rate 0.25, 10 s", lines[3])
    assert len(lines) == 4


def test_a_resumed_training_counts_what_is_left_of_it(caplog):
    caplog.set_level(logging.INFO, "infomri_monai")
    clock = Clock()
    note = Note(clock)
    trainer, note.progress = trainer_of(clock, epochs=6, interval=1, handlers=[note])
    trainer.load_state_dict({"epoch": 3, "max_epochs": 6, "epoch_length": 4})
    trainer.run()
    assert [left for _, left in note.notes] == pytest.approx([clock() - now for now, _ in note.notes])
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert lines[0] == "training: starts at epoch 4 of 6, 4 iterations"
    assert lines[2].startswith("training: epoch 4 of 6")


def test_a_long_epoch_says_every_minute_that_it_lives(caplog):
    caplog.set_level(logging.INFO, "infomri_monai")
    clock = Clock()
    trainer_of(clock, epochs=1, interval=9, length=200)[0].run()
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert [line for line in lines if "about" in line] == [
        "training: 61 of 200 iterations, about 2 min 19 s left",
        "training: 121 of 200 iterations, about 1 min 19 s left",
        "training: 181 of 200 iterations, about 19 s left",
    ]


def test_an_evaluator_counts_batches(caplog, capsys):
    caplog.set_level(logging.INFO, "infomri_monai")
    clock = Clock()
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=batches(3),
        network=Slow(clock),
        val_handlers=[Progress("inference", unit="cases", clock=clock)],
        decollate=False,
    )
    evaluator.run()
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("progress")]
    assert lines == ["inference: 3 cases", "inference: first of 3 cases done after 8.0 s", "inference: 3 cases, 14 s"]
    evaluator.run(global_epoch=7)  # as in a training
    assert capsys.readouterr().err == ""


def test_only_the_first_process_speaks(caplog, monkeypatch):
    caplog.set_level(logging.INFO, "infomri_monai")
    monkeypatch.setattr("infomri_monai.handlers.progress.idist.get_rank", lambda: 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    trainer, progress = trainer_of(Clock(), epochs=1)
    trainer.run()
    assert not progress._bar
    assert not [record for record in caplog.records if record.name.endswith("progress")]


def test_an_interval_below_one_is_refused():
    refuses(ValueError, "val_interval must be >= 1, got 0", Progress, val_interval=0)


def example():
    """A training as a bundle runs it: the log goes to standard output."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="LOG %(message)s")
    if "RANK" in os.environ:
        torch.distributed.init_process_group("gloo")
    trainer_of(Clock(), epochs=2, interval=1)[0].run()
    if "RANK" in os.environ:
        torch.distributed.destroy_process_group()


def run_in_terminal(*command, **given):
    """Output of a command whose standard streams are a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, **given) as process:
        os.close(theirs)
        parts = []
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # Linux' end of a terminal
                break
            if not part:
                break
            parts.append(part)
        process.wait()
    os.close(ours)
    assert process.returncode == 0
    return b"".join(parts).decode()


def surroundings():
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "xterm"}


def test_a_bar_on_a_terminal_leaves_log_lines_whole():
    seen = run_in_terminal(sys.executable, str(HERE), env=surroundings())
    assert re.search(r"training \[2/2\]: \[\d/4\] +\d+%\|.*\|, loss=[\d.e-]+, lr=0\.25, left=", seen)
    assert re.search(r"validation.*\[\d/2\] +\d+%\|", seen)
    lines = [line for line in re.split(r"[\r\n]+|\x1b\[A", seen) if "epoch 1 of 2: loss" in line]
    assert [line.startswith("LOG training: epoch 1 of 2: loss") for line in lines] == [True]
    assert "starts at epoch" not in seen  # the bar says so


def test_no_bar_goes_into_a_file(tmp_path):
    with (tmp_path / "log").open("w") as log:
        subprocess.run([sys.executable, str(HERE)], env=surroundings(), stdout=log, stderr=log, check=True)
    text = (tmp_path / "log").read_text()
    assert text.count("LOG training: epoch ") == 2
    assert "%|" not in text
    assert "\r" not in text


@pytest.mark.slow
def test_two_processes_write_one_line_an_epoch():
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = subprocess.run(
        [sys.executable, *torchrun, str(HERE)], env=surroundings(), capture_output=True, text=True, check=True
    )
    assert (done.stdout + done.stderr).count("LOG training: epoch ") == 2


if __name__ == "__main__":
    example()

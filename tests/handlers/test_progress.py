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
from ignite.engine import Events
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
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine):
        self.notes.append((self.clock(), self.progress.seconds_left(engine)))


@pytest.fixture
def lines(caplog):
    """What was logged so far, on call."""
    caplog.set_level(logging.INFO, "infomri_monai")
    return lambda: [record.getMessage() for record in caplog.records if record.name.endswith("progress")]


@pytest.mark.parametrize("interval", [1, 2])
def test_the_time_left_comes_true_once_a_validation_was_seen(interval):
    """Before any it is right within a factor of two."""
    clock = Clock()
    note = Note(clock)
    trainer, note.progress = trainer_of(clock, 6, interval, handlers=[note])
    trainer.run()
    (first, truth), *later = [(left, clock() - now) for now, left in note.notes]
    assert truth / 2 < first < 2 * truth
    assert first == pytest.approx(truth) or interval > 1
    assert [left for left, _ in later] == pytest.approx([truth for _, truth in later])


def test_a_slow_first_iteration_does_not_count(lines):
    trainer_of(Clock(), epochs=2, interval=1)[0].run()
    starts, first, *epochs = lines()
    assert starts == "training: starts at epoch 1 of 2, 4 iterations"
    assert first == "training: first of 4 iterations done after 6.0 s"
    left = ("15 s, about 10 s left", "10 s")
    for epoch, (line, said) in enumerate(zip(epochs, left, strict=True), 1):
        assert re.fullmatch(rf"training: epoch {epoch} of 2: loss [\d.e-]+, learning rate 0.25, {said}", line)


def test_a_resumed_training_counts_what_is_left_of_it(lines):
    clock = Clock()
    note = Note(clock)
    trainer, note.progress = trainer_of(clock, epochs=6, interval=1, handlers=[note])
    trainer.load_state_dict({"epoch": 3, "max_epochs": 6, "epoch_length": 4})
    trainer.run()
    assert [left for _, left in note.notes] == pytest.approx([clock() - now for now, _ in note.notes])
    assert lines()[0] == "training: starts at epoch 4 of 6, 4 iterations"
    assert lines()[2].startswith("training: epoch 4 of 6")


def test_a_long_epoch_says_every_minute_that_it_lives(lines):
    trainer_of(Clock(), epochs=1, interval=9, length=200)[0].run()
    assert [line for line in lines() if "about" in line] == [
        "training: 61 of 200 iterations, about 2 min 19 s left",
        "training: 121 of 200 iterations, about 1 min 19 s left",
        "training: 181 of 200 iterations, about 19 s left",
    ]


def test_an_evaluator_counts_batches(lines, capsys):
    clock = Clock()
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=batches(3),
        network=Slow(clock),
        val_handlers=[Progress("inference", unit="cases", clock=clock)],
        decollate=False,
    )
    evaluator.run()
    assert lines() == ["inference: 3 cases", "inference: first of 3 cases done after 8.0 s", "inference: 3 cases, 14 s"]
    evaluator.run(global_epoch=7)  # as in a training
    assert capsys.readouterr().err == ""


def test_only_the_first_process_speaks(lines, monkeypatch):
    monkeypatch.setattr("infomri_monai.handlers.progress.idist.get_rank", lambda: 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    trainer, progress = trainer_of(Clock(), epochs=1)
    trainer.run()
    assert not progress._bar
    assert not lines()


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
    """The script's, whose helper lies in the folder of all tests."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "xterm", "PYTHONPATH": str(HERE.parents[1])}


def test_a_bar_on_a_terminal_leaves_log_lines_whole():
    seen = run_in_terminal(sys.executable, str(HERE), env=surroundings())
    assert re.search(r"training \[2/2\]: \[\d/4\] +\d+%\|.*\|, loss=[\d.e-]+, lr=0\.25, left=", seen)
    assert re.search(r"validation.*\[\d/2\] +\d+%\|", seen)
    lines = [line for line in re.split(r"[\r\n]+|\x1b\[A", seen) if "epoch 1 of 2: loss" in line]
    assert [line.startswith("LOG training: epoch 1 of 2: loss") for line in lines] == [True]
    assert "starts at epoch" not in seen  # the bar says so


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


@pytest.mark.parametrize("launch", [(), pytest.param(TORCHRUN, marks=pytest.mark.slow)])
def test_one_line_an_epoch_and_no_bar_goes_into_a_file(launch):
    """However many processes there are."""
    how = {"env": surroundings(), "capture_output": True, "text": True, "check": True}
    done = subprocess.run([sys.executable, *launch, str(HERE)], **how)
    text = done.stdout + done.stderr
    assert text.count("LOG training: epoch ") == 2
    assert "%|" not in text
    assert "\r" not in text


if __name__ == "__main__":
    example()

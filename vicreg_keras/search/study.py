"""How are trials run, by one process or several, and none of them lost?

A trial is an ordinary run in a folder of its own. What was suggested, and how it went,
is in an Optuna study in one SQLite file: whoever opens it, now or after a crash, goes
on from there.
"""

import contextlib
import dataclasses
import fcntl
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import optuna
import tensorflow as tf
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from vicreg_keras.data.dataset import Dataset
from vicreg_keras.figures.run_figures import draw_run
from vicreg_keras.search import objectives
from vicreg_keras.search.memory import forgotten_models
from vicreg_keras.search.space import Space, apply, own_values, suggest
from vicreg_keras.settings import Settings
from vicreg_keras.training.checkpoints import trained_encoder
from vicreg_keras.training.pretrain import pretrain
from vicreg_keras.workdir.run_folder import RunFolder

# A process that has not been heard of for so long is dead, and its trial another's.
HEARTBEAT_SECONDS, DEAD_AFTER_SECONDS = 10, 60
_MAX_RETRIES = 3
# Trials that run to their end before any is cut short.
_UNPRUNED_TRIALS = 5
# Looks at a trial on its way, at most.
_NUM_GLANCES = 10
# What a worse trial does not keep. Numbers, flags and the picture of its loss stay.
_HEAVY = ("checkpoints", "tensorboard")
# What may differ from one start of a search to the next.
_FREE = ("epochs", "strategy", "score_every", "checkpoint_minutes")

Claim = Callable[[RunFolder, Mapping[str, Any]], None]


class Glances(keras.callbacks.Callback):
    """Scores an encoder as it trains, and ends a trial that is worse than most.

    Args:
        trial: what is told the scores.
        judge: from an encoder to its score.
        every: epochs between two looks; the last epoch has none.
        epochs: of the whole trial.

    Raises:
        optuna.TrialPruned: while fitting, when the trial is not worth going on with.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        judge: Callable[[Any], float],
        every: int,
        epochs: int,
    ):
        super().__init__()
        self._trial = trial
        self._judge = judge
        self._every = every
        self._epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        done = epoch + 1
        # A loss that is no number ends the run right after this.
        finite = math.isfinite(float(logs["loss"]))
        if done % self._every or done == self._epochs or not finite:
            return
        logs["search_score"] = self._judge(self.model.encoder)
        self._trial.report(logs["search_score"], done)
        if self._trial.should_prune():
            raise optuna.TrialPruned


class Search:
    """Trials of one recipe's neighborhood, in one folder.

    Args:
        settings: the recipe; `epochs` are a trial's.
        dataset: trained on and, in its held-out part, judged by.
        run: the folder: `study.db`, and `trials/` with a run each.
        objective: a key of `objectives.OBJECTIVES`.
        space: what is searched.
        claim: called with a trial's run and what it changes of the recipe, by name,
            before it is trained.
        positives: as of `pretrain`, of every trial.

    Attributes:
        settings: of a trial that nothing is changed of.
        name: the objective's.
        space: what is searched.
        positives: of every trial, or `None`.
        study: Optuna's.

    Raises:
        ValueError: if the folder holds another search.
    """

    def __init__(
        self,
        settings: Settings,
        dataset: Dataset,
        run: RunFolder,
        *,
        objective: str,
        space: Space,
        claim: Claim,
        positives: np.ndarray | None = None,
    ):
        self.settings = dataclasses.replace(settings, score_every=0)
        self._dataset = dataset
        self._run = run
        self.name = objective
        self._objective = objectives.OBJECTIVES[objective]
        self.space = space
        self.positives = positives
        self._claim = claim
        self._every = -(-settings.epochs // _NUM_GLANCES)
        # One at a time: two that create the tables together would fail.
        with self._turn():
            self.study = self._open()

    def best(self) -> FrozenTrial | None:
        """The best trial that ran to its end, or `None`."""
        done = self._trials(TrialState.COMPLETE)
        return max(done, key=lambda one: (one.value, -one.number), default=None)

    def folder(self, trial: FrozenTrial) -> RunFolder:
        """Where a trial's run is; one that is taken up again goes on in the same."""
        return RunFolder(self._run.path / "trials" / f"{number_of(trial):04d}")

    def go(self, num_trials: int) -> None:
        """Runs trials until there are so many in all, those of others included.

        Args:
            num_trials: begun in all, now or earlier, here or in another process.

        Raises:
            KeyboardInterrupt: when a signal came; the trial at hand is put back, and
                whoever goes on continues it.
        """
        said = False
        while True:
            with contextlib.ExitStack() as turn:
                turn.enter_context(self._turn())
                optuna.storages.fail_stale_trials(self.study)
                trials = self.study.get_trials(deepcopy=False)
                waiting = any(one.state == TrialState.WAITING for one in trials)
                num_begun = len({number_of(one) for one in trials} - {None})
                if waiting or num_begun < num_trials:
                    self._next(num_trials, num_begun, turn)
                    continue
            running = self._trials(TrialState.RUNNING)
            if not running:
                return
            if not said:
                numbers = ", ".join(str(number_of(one)) for one in running)
                print(f"Waiting for trials of other processes: {numbers}.", flush=True)
                said = True
            time.sleep(1)

    def _open(self):
        storage = RDBStorage(
            f"sqlite:///{self._run.path.resolve() / 'study.db'}",
            engine_kwargs={"connect_args": {"timeout": 60}},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=DEAD_AFTER_SECONDS,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
                max_retry=_MAX_RETRIES
            ),
        )
        study = optuna.create_study(
            storage=storage,
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(_UNPRUNED_TRIALS),
        )
        about = self._about()
        earlier = study.user_attrs.get("about", about)
        for key, value in about.items():
            if earlier.get(key) != value:
                raise ValueError(
                    f"Expected the search that {self._run.path} was started with "
                    f"({key}={earlier.get(key)}). Received: {key}={value}. Choose "
                    "another --workdir, or give the same value to go on."
                )
        study.set_user_attr("about", about)
        own = own_values(self.settings, self.space)
        if own is not None and not study.get_trials(deepcopy=False):
            # First, the recipe itself: what is best is never worse than that.
            study.enqueue_trial(own)
        return study

    def _about(self):
        """What makes the search what it is, as JSON can hold it."""
        recipe = dataclasses.asdict(self.settings)
        about = {name: value for name, value in recipe.items() if name not in _FREE}
        about |= {
            "dataset": self._dataset.name,
            "trial_epochs": self.settings.epochs,
            "objective": self.name,
            "space": {k: distribution_to_json(one) for k, one in self.space.items()},
        }
        return json.loads(json.dumps(about))

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Only one process at a time is here; the others wait."""
        with open(self._run.path / ".turn", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _next(self, num_trials, num_begun, turn):
        """Runs one trial; `turn` is given up once it has begun."""
        # The same search, interrupted or not, tries the same; two processes never do.
        self.study.sampler = optuna.samplers.TPESampler(
            seed=(self.settings.seed + 1000003 * num_begun) % 2**32
        )
        begun = []

        def objective(trial):
            begun.append(trial.number)
            if "number" not in trial.user_attrs:
                trial.set_user_attr("number", num_begun)
            turn.close()
            return self._train(trial)

        started = time.monotonic()
        try:
            with forgotten_models():
                self.study.optimize(
                    objective, n_trials=1, catch=(tf.errors.ResourceExhaustedError,)
                )
        except (KeyboardInterrupt, OSError):
            if begun:
                self._put_back(begun[0])
            raise
        with self._turn():
            self._clear_up()
        trial = self._frozen(begun[0])
        print(self._line(trial, num_trials, time.monotonic() - started), flush=True)

    def _train(self, trial):
        values = suggest(trial, self.space)
        chosen = apply(self.settings, values)
        part = self.folder(self._frozen(trial.number))
        part.create()
        glance = objectives.make_judge(
            self._objective, self._dataset, glance=True, seed=chosen.seed
        )
        callback = Glances(trial, glance, self._every, chosen.epochs)
        try:
            with part.lock():
                kept = {"epochs": chosen.epochs, "score_every": chosen.score_every}
                self._claim(part, values | kept)
                last = pretrain(
                    chosen,
                    self._dataset,
                    part,
                    positives=self.positives,
                    extra_callbacks=[callback],
                    verbose=0,
                    export=False,
                )
                draw_run(part)
                if last["stopped_by"]:
                    raise KeyboardInterrupt
                encoder = trained_encoder(chosen, self._dataset, part)
                return objectives.make_judge(self._objective, self._dataset)(encoder)
        except FloatingPointError:
            # Pruned, not failed: the sampler learns to keep away.
            trial.set_user_attr("diverged", True)
            raise optuna.TrialPruned from None

    def _put_back(self, number):
        """Has a trial that was stopped go on where it was, by whoever is next."""
        trial = self._frozen(number)
        if trial.state != TrialState.FAIL:
            return
        self.study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=trial.user_attrs,
                system_attrs=trial.system_attrs,
            )
        )

    def _clear_up(self):
        """Takes from all finished trials but the best what fills a disk."""
        trials = self.study.get_trials(deepcopy=False)
        kept = {number_of(one) for one in trials if not one.state.is_finished()}
        best = self.best()
        if best is not None:
            kept.add(number_of(best))
        for trial in trials:
            if number_of(trial) not in kept:
                for name in _HEAVY:
                    shutil.rmtree(self.folder(trial).path / name, ignore_errors=True)

    def _frozen(self, number):
        return self.study.get_trials(deepcopy=False)[number]

    def _trials(self, state):
        return self.study.get_trials(deepcopy=False, states=(state,))

    def _line(self, trial, num_trials, seconds):
        text = self._objective.text
        if trial.state == TrialState.COMPLETE:
            outcome = f"{self.name} {text(trial.value)}"
        elif trial.state == TrialState.PRUNED:
            scores = trial.intermediate_values
            outcome = f"cut short after epoch {max(scores)}" if scores else "cut short"
            outcome = "diverged" if trial.user_attrs.get("diverged") else outcome
        else:
            outcome = "failed: not enough memory"
        best = self.best()
        so_far = "none yet"
        if best is not None:
            so_far = f"{text(best.value)} (trial {number_of(best)})"
        return (
            f"trial {number_of(trial)}, {outcome}, best {so_far}, {seconds:.1f} s, "
            f"{self._time_left(num_trials)} left"
        )

    def _time_left(self, num_trials):
        ended = self._trials(TrialState.COMPLETE) + self._trials(TrialState.PRUNED)
        seconds = [one.duration.total_seconds() for one in ended]
        num_processes = len(self._trials(TrialState.RUNNING)) + 1
        left = max(num_trials - len(ended), 0) * sum(seconds) / max(len(seconds), 1)
        minutes, seconds = divmod(round(left / num_processes), 60)
        return f"{minutes} min {seconds:02d} s"


def number_of(trial: FrozenTrial) -> int | None:
    """A trial's place in the search; Optuna counts each new try at one anew.

    Args:
        trial: one of a search.

    Returns:
        From 0 on; `None` for a trial that has not begun.
    """
    return trial.user_attrs.get("number")

"""Trials of a search: an Optuna study in one SQLite file, and a run for each trial.

Whoever opens the study continues it: the same command later, or several processes at a
time. A trial whose process ended, or that was interrupted, is continued where it was.
"""

import dataclasses
import functools
import json
import pathlib
import shutil
import time
import warnings

import optuna
import sqlalchemy.exc
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from vicreg_keras.errors import InputError
from vicreg_keras.evaluate.records import TrialRecord
from vicreg_keras.search.objectives import OBJECTIVES
from vicreg_keras.search.space import Space, apply, own_values, suggest
from vicreg_keras.search.trial import Task, TrialCrash, run_task
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import free_names, to_flags
from vicreg_keras.workdir.run_folder import RunFolder

# Seconds; a trial without a heartbeat for the grace period is another process's.
HEARTBEAT_INTERVAL, GRACE_PERIOD = 10, 60
_MAX_RETRIES = 3
_NUM_UNPRUNED_TRIALS = 5
_MAX_SCORES = 10  # Of a trial, before its last epoch.
# Folders that a worse trial does not keep; metrics, flags and figures stay.
_LARGE_FOLDERS = ("checkpoints", "tensorboard")

# Heartbeats have been experimental since 2021.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclasses.dataclass
class Search:
    """Trials in the neighborhood of a recipe.

    Attributes:
        settings: The recipe of a trial without changes, for one kind of examples; its
            `epochs` are a trial's.
        data: The dataset.
        run: Folder of the search: `study.db`, and `trials/` with a run for each trial.
        objective: A key of `OBJECTIVES`.
        space: The space.
        study: The Optuna study.

    Raises:
        InputError: If the folder has another search.
    """

    settings: Settings
    data: DataOptions
    run: RunFolder
    _: dataclasses.KW_ONLY
    objective: str
    space: Space
    study: optuna.Study = dataclasses.field(init=False)

    def __post_init__(self):
        self.settings = dataclasses.replace(self.settings, score_every=0)
        self.study = self._open()

    def best(self) -> TrialRecord | None:
        """Returns the best trial that was trained to its end, or `None`."""
        complete = [one for one in self.records() if one.state == "complete"]
        return max(complete, key=lambda one: (one.value, -one.number), default=None)

    def records(self) -> tuple[TrialRecord, ...]:
        """Returns a record of each trial; its last try counts."""
        records = {
            number_of(trial): TrialRecord(
                number=number_of(trial),
                state=trial.user_attrs.get("outcome", trial.state.name.lower()),
                value=None if trial.state == TrialState.FAIL else trial.value,
                values=trial.params,
                seconds=trial.duration.total_seconds() if trial.duration else None,
            )
            for trial in self.study.get_trials(deepcopy=False)
        }
        return tuple(records[number] for number in sorted(records))

    def importances(self) -> dict[str, float]:
        """Returns the importance of each option; none if all trials are alike."""
        if len({one.value for one in self._trials(TrialState.COMPLETE)}) < 2:
            return {}
        return optuna.importance.get_param_importances(self.study)

    def space_json(self) -> dict[str, str]:
        """Returns the space as JSON can hold it."""
        return {name: distribution_to_json(one) for name, one in self.space.items()}

    def optimize(self, num_trials: int) -> None:
        """Runs trials until there are so many, and waits for those of other processes.

        Each further process may begin one more.

        Args:
            num_trials: Number of trials, of earlier starts and other processes too.

        Raises:
            KeyboardInterrupt: If interrupted; whoever continues the search continues
                the trial.
            InputError: If a trial can't be trained with this data or folder.
        """
        is_waiting = False
        while True:
            optuna.storages.fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            left = num_trials - len({number_of(one) for one in trials})
            if left > 0 or self._trials(TrialState.WAITING):
                self._run_trial(num_trials)
                continue
            running = self._trials(TrialState.RUNNING)
            if not running:
                return
            if not is_waiting:
                numbers = ", ".join(str(number_of(one)) for one in running)
                print(f"Waiting for trials of other processes: {numbers}.", flush=True)
                is_waiting = True
            time.sleep(1)

    def _open(self) -> optuna.Study:
        study = optuna.create_study(
            storage=self._open_storage(),
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(_NUM_UNPRUNED_TRIALS),
        )
        identity = self._identity()
        earlier = study.user_attrs.get("identity", identity)
        for name in sorted({*identity, *earlier}):
            before, now = earlier.get(name), identity.get(name)
            if before != now:
                raise InputError(
                    f"Expected the search that {self.run.path} was started with "
                    f"({name}={before}). Received: {name}={now}. Choose another "
                    "workdir, or give the same value to continue."
                )
        study.set_user_attr("identity", identity)
        own = own_values(self.settings, self.space)
        if own is not None and not study.get_trials(deepcopy=False):
            # First, the recipe itself: the best is never worse.
            study.enqueue_trial(own, skip_if_exists=True)
        return study

    def _open_storage(self) -> RDBStorage:
        connect = functools.partial(
            RDBStorage,
            f"sqlite:///{self.run.path.resolve() / 'study.db'}",
            engine_kwargs={"connect_args": {"timeout": 60}},
            heartbeat_interval=HEARTBEAT_INTERVAL,
            grace_period=GRACE_PERIOD,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(
                max_retry=_MAX_RETRIES
            ),
        )
        try:
            return connect()
        except sqlalchemy.exc.OperationalError:
            # Another process has just created the tables.
            time.sleep(1)
            return connect()

    def _identity(self) -> dict[str, str]:
        """Returns what makes the search what it is."""
        options = (self.data, self.settings)
        free = free_names(*options)
        return {
            **{k: v for k, v in to_flags(*options).items() if k not in free},
            "trial_epochs": str(self.settings.epochs),
            "objective": self.objective,
            "space": json.dumps(self.space_json(), sort_keys=True),
        }

    def _run_trial(self, num_trials: int) -> None:
        numbers = []

        def objective(trial):
            numbers.append(trial.number)
            return self._train(trial)

        try:
            self.study.optimize(objective, n_trials=1, catch=(TrialCrash,))
        except (KeyboardInterrupt, InputError):
            for number in numbers:
                # The trial is put back, to be continued.
                RetryHeartbeatStaleTrialCallback()(self.study, self._trial(number))
            raise
        self._remove_large_folders()
        number = number_of(self._trial(numbers[0]))
        print(self._line(number, num_trials), flush=True)

    def _train(self, trial: optuna.Trial) -> float:
        # Seeded by the trial: a search that was interrupted tries the same as one that
        # was not, and no two processes try the same.
        earlier = self.study.get_trials(deepcopy=False)[: trial.number]
        index = len({number_of(one) for one in earlier})
        self.study.sampler = optuna.samplers.TPESampler(
            seed=(self.settings.seed + 1000003 * index) % 2**32
        )
        settings = apply(self.settings, suggest(trial, self.space))

        def report(epoch, score):
            if score is None:
                return
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        task = Task(
            folder=str(self._folder(number_of(self._trial(trial.number)))),
            settings=settings,
            data=self.data,
            split_seed=self.settings.seed,
            objective=self.objective,
            score_every=-(-settings.epochs // _MAX_SCORES),
        )
        result = run_task(task, report)
        if result.diverged:
            # Pruned rather than failed: the sampler learns from it.
            trial.set_user_attr("outcome", "diverged")
            raise optuna.TrialPruned
        return result.score

    def _remove_large_folders(self) -> None:
        best = self.best()
        for one in self.records():
            if one.state not in ("running", "waiting") and one != best:
                for name in _LARGE_FOLDERS:
                    shutil.rmtree(self._folder(one.number) / name, ignore_errors=True)

    def _folder(self, number: int) -> pathlib.Path:
        """Returns the folder of a trial; all its tries have the same."""
        return self.run.path / "trials" / f"{number:04d}"

    def _trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(state,))

    def _line(self, number: int, num_trials: int) -> str:
        """Returns a finished trial's outcome, the best so far, and the time left."""
        trials = {one.number: one for one in self.records()}
        trial, best = trials[number], self.best()
        text = OBJECTIVES[self.objective].text
        outcome = trial.state
        if outcome == "complete":
            outcome = f"{self.objective} {text(trial.value)}"
        elif outcome == "fail":
            outcome = f"failed, see {self._folder(number) / 'trial.log'}"
        so_far = f"{text(best.value)} (trial {best.number})" if best else "none yet"
        ended = [one.seconds for one in trials.values() if one.seconds is not None]
        num_processes = len(self._trials(TrialState.RUNNING)) + 1
        left = max(num_trials - len(ended), 0) * sum(ended) / len(ended) / num_processes
        return (
            f"trial {number}, {outcome}, best {so_far}, {trial.seconds:.1f} s, "
            f"{tqdm.format_interval(left)} left"
        )


def number_of(trial: FrozenTrial) -> int:
    """Returns the number of a trial's first try; Optuna counts the others anew."""
    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if first is None else first

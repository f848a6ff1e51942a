"""Trials of a search: an Optuna study in one SQLite file, and a run for each trial.

Whoever opens the study continues it: the same command later, or several processes at a
time. A trial whose process ended, or that was interrupted, is continued where it was.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
import sqlite3
import time
import warnings

import optuna
import sqlalchemy.exc
from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from vicreg_keras.errors import (
    DamagedError,
    InputError,
    NonFiniteError,
    error_reason,
)
from vicreg_keras.figures.style import save
from vicreg_keras.search.objectives import OBJECTIVES
from vicreg_keras.search.space import Space, apply, own_values, suggest
from vicreg_keras.search.trial import Task, TrialCrash, run_task
from vicreg_keras.settings import DataOptions, Settings
from vicreg_keras.settings.options import free_names, to_flags
from vicreg_keras.workdir.run_folder import RunFolder, check_unchanged

# Seconds; a trial without a heartbeat for the grace period is another process's.
HEARTBEAT_INTERVAL, GRACE_PERIOD = 10, 60
_MAX_RETRIES = 3
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

    def trials(self) -> dict[int, FrozenTrial]:
        """Returns the last try of each trial, by the trial's number."""
        last = {_first(one): one for one in self.study.get_trials(deepcopy=False)}
        return dict(enumerate(last[number] for number in sorted(last)))

    def number_of(self, trial: FrozenTrial) -> int:
        """Returns the number of a trial, the same for all its tries.

        Optuna counts each try: a search that was interrupted would have other numbers.
        """
        tries = self.study.get_trials(deepcopy=False)
        return sorted({_first(one) for one in tries}).index(_first(trial))

    def best(self) -> FrozenTrial:
        """Returns the best trial that was trained to its end.

        Raises:
            InputError: If there is none.
        """
        best = self._best()
        if best is None:
            raise InputError(
                "Expected a trial that is trained to its end. Received: none of "
                f"{len(self.trials())}. Raise trials, or narrow space."
            )
        return best

    def draw(self) -> None:
        """Draws the trials' scores and, where they differ, which options mattered."""
        plots, title = optuna.visualization.matplotlib, OBJECTIVES[self.objective].title
        axes = plots.plot_optimization_history(self.study, target_name=title)
        drawn = {"search_history": axes}
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        if len({one.value for one in complete}) > 1:
            drawn["search_importance"] = plots.plot_param_importances(self.study)
        for name, axes in drawn.items():
            axes.figure.set_size_inches(9, 4)
            axes.figure.set_layout_engine("constrained")
            save(axes.figure, self.run.figures / f"{name}.png")

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
        with tqdm(total=num_trials, unit="trial") as bar:
            while True:
                optuna.storages.fail_stale_trials(self.study)
                states = [one.state for one in self.trials().values()]
                bar.update(sum(state.is_finished() for state in states) - bar.n)
                if len(states) < num_trials or TrialState.WAITING in states:
                    self.study.optimize(
                        self._try,
                        n_trials=1,
                        catch=(TrialCrash,),
                        callbacks=[self._after_trial],
                    )
                elif TrialState.RUNNING in states:
                    if not bar.desc:
                        bar.set_description("waiting for trials of other processes")
                    time.sleep(1)
                else:
                    return

    def _open(self) -> optuna.Study:
        """Opens the study, once its file and its trials are known to be whole."""
        path = self.run.path / "study.db"
        remedy = "Restore it, or choose another workdir."
        try:
            if not path.exists() or not path.stat().st_size:
                if (self.run.path / "trials").exists():
                    raise DamagedError(path, "it is missing or empty", remedy)
            else:
                with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
                    (found,) = database.execute("PRAGMA integrity_check").fetchone()
                if found != "ok":
                    raise DamagedError(path, "SQLite finds it malformed", remedy)
            study = self._load()
            for trial in study.get_trials(deepcopy=False):
                known = trial.user_attrs.get("checksum")
                if known not in (None, _checksum(trial, trial.value)):
                    reason = f"trial {trial.number} is not as it ended"
                    raise DamagedError(path, reason, remedy)
        except InputError:
            raise
        except Exception as error:  # Of SQLite, SQLAlchemy, JSON or Optuna.
            raise DamagedError(path, error_reason(error), remedy) from error
        identity = self._identity()
        earlier = study.user_attrs.get("identity", {})
        may_change = free_names(self.data, self.settings)
        check_unchanged(self.run.path, earlier, identity, may_change)
        study.set_user_attr("identity", identity)
        own = own_values(self.settings, self.space)
        if own is not None and not study.get_trials(deepcopy=False):
            # First, the recipe itself: the best is never worse.
            study.enqueue_trial(own, skip_if_exists=True)
        return study

    def _load(self) -> optuna.Study:
        return optuna.create_study(
            storage=self._open_storage(),
            study_name="search",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(),
        )

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
        space = {name: distribution_to_json(one) for name, one in self.space.items()}
        return {
            **to_flags(self.data, self.settings),
            "trial_epochs": str(self.settings.epochs),
            "objective": self.objective,
            "space": json.dumps(space, sort_keys=True),
        }

    def _try(self, trial: optuna.Trial) -> float:
        try:
            value = self._train(trial)
            self._seal(trial, value)
            return value
        except NonFiniteError as error:
            # Pruned rather than failed: the sampler learns from it.
            trial.set_user_attr("outcome", "diverged")
            self._seal(trial)
            raise optuna.TrialPruned from error
        except optuna.TrialPruned:
            self._seal(trial)
            raise
        except (KeyboardInterrupt, InputError):
            # The trial is put back, to be continued.
            put_back = RetryHeartbeatStaleTrialCallback()
            put_back(self.study, self.study.trials[trial.number])
            raise

    def _seal(self, trial: optuna.Trial, value: float | None = None) -> None:
        """Keeps a checksum of what the sampler and the pruner will learn from."""
        frozen = self.study.trials[trial.number]
        trial.set_user_attr("checksum", _checksum(frozen, value))

    def _train(self, trial: optuna.Trial) -> float:
        # Seeded by the trial: a search that was interrupted tries the same as one that
        # was not, and no two processes try the same.
        number = self.number_of(self.study.trials[trial.number])
        self.study.sampler = optuna.samplers.TPESampler(
            seed=(self.settings.seed + 1000003 * number) % 2**32
        )
        settings = apply(self.settings, suggest(trial, self.space))

        def report(epoch, score):
            if score is None:
                return
            trial.report(score, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        task = Task(
            folder=str(self._folder(number)),
            settings=settings,
            data=self.data,
            split_seed=self.settings.seed,
            objective=self.objective,
            score_every=-(-settings.epochs // _MAX_SCORES),
        )
        return run_task(task, report).validation_score

    def _after_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Prints a trial's outcome, and leaves large folders to the best one alone."""
        number, best = self.number_of(trial), self._best()
        best_number = best and self.number_of(best)
        for other, one in self.trials().items():
            if one.state.is_finished() and other != best_number:
                for name in _LARGE_FOLDERS:
                    shutil.rmtree(self._folder(other) / name, ignore_errors=True)
        text = OBJECTIVES[self.objective].text
        outcome = trial.user_attrs.get("outcome", trial.state.name.lower())
        if outcome == "complete":
            outcome = f"{self.objective} {text([trial.value])}"
        elif outcome == "fail":
            outcome = f"failed, see {self._folder(number) / 'trial.log'}"
        so_far = f"{text([best.value])} (trial {best_number})" if best else "none yet"
        seconds = trial.duration.total_seconds()
        tqdm.write(f"trial {number}, {outcome}, best {so_far}, {seconds:.1f} s")

    def _best(self) -> FrozenTrial | None:
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        # Of equal ones the first, whenever its last try was.
        return max(complete, key=lambda one: (one.value, -_first(one)), default=None)

    def _folder(self, number: int) -> pathlib.Path:
        """Returns the folder of a trial; all its tries have the same."""
        return self.run.path / "trials" / f"{number:04d}"


def _checksum(trial: FrozenTrial, value: float | None) -> str:
    scores = trial.intermediate_values
    space = {
        name: distribution_to_json(one) for name, one in trial.distributions.items()
    }
    if trial.state == TrialState.PRUNED:
        value = None  # Optuna's is the last score.
    values = [trial.params, space, sorted(scores.items()), value]
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _first(trial: FrozenTrial) -> int:
    """Returns Optuna's number of a trial's first try."""
    first = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if first is None else first

"""Shared by the tests: seeds, the command line, a browser, and which tests are slow."""

import json
import os
import pathlib
import shutil

# Before the first import of TensorFlow, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Files and folders whose tests train, export or start processes, for seconds each.
# `make test-fast` leaves them out, as it does single tests marked `slow`.
SLOW = (
    "benchmarks/",
    "data/test_fuzz.py",
    "data/sources/test_tfds.py",
    "evaluate/test_augmented_probe.py",
    "evaluate/test_finetune.py",
    "examples/",
    "export/test_elsewhere.py",
    "export/test_image_bytes.py",
    "export/test_image_kinds.py",
    "export/test_killed.py",
    "export/test_onnx.py",
    "export/test_savedmodel.py",
    "export/test_tflite.py",
    "hardware/test_distribute.py",
    "modes/",
    "report/test_browser.py",
    "report/test_page.py",
    "search/",
    "test_cli.py",
    "test_notebooks.py",
    "test_own_data.py",
    "test_recipes.py",
    "test_tables_everywhere.py",
    "training/test_identity.py",
    "training/test_killed.py",
    "training/test_pretrain.py",
)

_BROWSER_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _is_slow(path):
    name = path.relative_to(ROOT).as_posix().removeprefix("tests/")
    return f"{name}/".startswith(SLOW)


def pytest_ignore_collect(collection_path, config):
    # Without importing them, and what they need.
    return config.option.markexpr == "not slow" and _is_slow(collection_path) or None


def pytest_collection_modifyitems(items):
    for item in items:
        if _is_slow(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path_factory, monkeypatch):
    # Not the user's; also of processes that a test starts.
    folder = str(tmp_path_factory.getbasetemp() / "cache")
    monkeypatch.setenv("VICREG_KERAS_CACHE", folder)


@pytest.fixture(autouse=True)
def _seeds():
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture(scope="session")
def digits():
    """The bundled digits."""
    from vicreg_keras import load_dataset

    return load_dataset("digits")


@pytest.fixture
def parse_flags(monkeypatch):
    """Parses arguments as the command line does, and returns what they ask for."""
    from vicreg_keras import cli

    def parse(arguments):
        return cli.parse(["main.py", *arguments])

    # A flag file names others relative to the working directory.
    monkeypatch.chdir(ROOT)
    return parse


@pytest.fixture
def run_main(capfd):
    """Runs the command line in this process: exit status, stdout, stderr."""
    import keras

    from vicreg_keras import cli

    def run(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main(["main.py", *map(str, arguments)])
        out, err = capfd.readouterr()
        return stopped.value.code or 0, out, err

    yield run
    keras.mixed_precision.set_dtype_policy("float32")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window.

    Needs Chromium with its driver (Debian: chromium, chromium-driver) and selenium.
    """
    pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("chromium or chromedriver is not installed")
    browser = Browser(chromium, driver, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()


class Browser:
    """A page in Chromium, its console and its requests."""

    def __init__(self, chromium, driver, profile):
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for argument in (*_BROWSER_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        options.set_capability(
            "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
        )
        service = webdriver.ChromeService(executable_path=driver)
        self.driver = webdriver.Chrome(options=options, service=service)
        # Chromium's first page makes requests of its own.
        self.driver.get("about:blank")

    def open(self, address, *, width=1280, scheme="light", media="screen"):
        self.logs()  # Earlier entries are not about this page.
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=844,
            deviceScaleFactor=1,
            mobile=width < 700,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", media=media, features=features)
        self.driver.get(address)

    def send(self, command, **parameters):
        """Sends a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def run(self, script, *arguments):
        """Returns what a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments):
        """Returns what a script returns, once that is true."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 10, 0.05).until(
            lambda _: self.run(script, *arguments), f"never true: {script}"
        )

    def logs(self):
        """Returns the lines on the console and the addresses of all requests."""
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        addresses = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                addresses.append(message["params"]["request"]["url"])
        return lines, addresses

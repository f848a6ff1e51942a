"""What tests share: quiet TensorFlow, seeds, the command line's parser, a browser."""

import json
import os
import pathlib
import shutil

# Before the first import of TensorFlow, here or in a process that a test starts.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

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


@pytest.fixture(autouse=True)
def _seeds():
    import keras

    keras.utils.set_random_seed(0)


@pytest.fixture
def parse_flags(monkeypatch):
    """A function that parses main.py's arguments as main.py would, and forgets them."""
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
    """A page in Chromium, and what it did while it was open."""

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
        # What Chromium shows at first asks for pages of its own.
        self.driver.get("about:blank")

    def open(self, address, *, width=1280, scheme="light", media="screen"):
        self.logs()  # What was said before is not about this page.
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
        """A command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(command, parameters)

    def run(self, script, *arguments):
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script, *arguments):
        """What a script returns, once that is true."""
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self.driver, 10, 0.05).until(
            lambda _: self.run(script, *arguments), f"never true: {script}"
        )

    def logs(self):
        """Lines on the console, and addresses that were asked for."""
        lines = [entry["message"] for entry in self.driver.get_log("browser")]
        addresses = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                addresses.append(message["params"]["request"]["url"])
        return lines, addresses

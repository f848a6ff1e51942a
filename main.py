"""The command line in a checkout: `python main.py --mode=pretrain`."""

from vicreg_keras.hardware.interrupts import exit_at_signals

if __name__ == "__main__":
    with exit_at_signals():
        from vicreg_keras.cli import main

        main()

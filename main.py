"""The command line in a checkout: `python main.py --mode=pretrain`."""

from vicreg_keras.hardware.interrupts import let_signals_exit

if __name__ == "__main__":
    let_signals_exit()
    from vicreg_keras.cli import main

    main()

"""The command line in a checkout: `python main.py --mode=pretrain`."""

from vicreg_keras.cli import main

if __name__ == "__main__":
    main()

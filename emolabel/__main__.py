"""`python -m emolabel`."""

from emolabel.cli import main

if __name__ == "__main__":
    main()

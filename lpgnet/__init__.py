"""A reproducible research compendium of LPGNet (He & Xiao 2025).  Start at `lpgnet/model.py`."""

__version__ = "0.1.0"

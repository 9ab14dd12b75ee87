"""A reproducible research compendium of LPGNet (He & Xiao 2025).  The road, each stage from the one before:

model, losses          the paper, section 3; config, experiments: its numbers, and what is run
corpora                something on disk -> the utterance table
features               the utterance table -> the feature store
runs                   the feature store -> records and predictions
tables                 records -> Tables 1 to 7, statistics, figures
beyond                 what the paper doesn't have: audits, report, other people's files, conversations
"""

__version__ = "0.2.0"

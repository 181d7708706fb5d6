"""What each stage does: records in, records out. Order,
skipping and resuming are the pipeline's.
"""

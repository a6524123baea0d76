"""Everything that speaks to wandb."""

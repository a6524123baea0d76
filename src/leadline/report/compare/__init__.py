"""Arms of a study, compared."""

"""A worker that is killed in the middle of a fit."""

from leadline.training.step import Stepper


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may answer it."""


def die_before(patched, step):
    """Make the fit die before its n-th step from now."""
    take, left = Stepper.take, [step]

    def dying(self, *arguments):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return take(self, *arguments)

    patched.setattr(Stepper, "take", dying)

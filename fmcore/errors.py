"""The one exception family a user can meet: every message is one sentence that says what to do."""


class FlowMismatchingError(ValueError):
    """Base of all errors caused by input; its message is fit to be shown to a user as it is."""


class ImageError(FlowMismatchingError):
    """An image or mask file that cannot be used."""


class DataError(FlowMismatchingError):
    """A folder that does not hold what was expected of it."""


class SettingsError(FlowMismatchingError):
    """A setting that is unknown, mistyped or out of range."""


class ModelError(FlowMismatchingError):
    """A model folder that is missing, damaged or does not fit the request."""


class TrainingError(FlowMismatchingError):
    """Training that cannot go on, for instance because the loss is no longer finite."""

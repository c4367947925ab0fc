"""What stops a rule, in one sentence."""


class RuleError(ValueError):
    """A rule was asked for with a parameter, or on evidence, that it cannot work with."""

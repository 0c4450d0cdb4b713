"""The linear model that audits learn classes by."""

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def linear_model(seed):
    """Logistic regression of standardised features, classes weighted to count alike."""
    return make_pipeline(
        StandardScaler(),
        LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced", random_state=seed),
    )

"""How much of a picture do the samples give away: attackers and a probe of attributes, trained, judged and reported in words."""

from infomri_monai.audit.audit import PrivacyAudit

__all__ = ["PrivacyAudit"]

"""`simedit.packaged` under the name that scripts know it by."""

from simedit.packaged import lab_data, library_folder, policy_folder

__all__ = ["lab_data", "library_folder", "policy_folder"]

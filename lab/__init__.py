"""The lab: the whole study in miniature, with models that the project trains itself and a measured truth."""

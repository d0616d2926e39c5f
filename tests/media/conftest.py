from hypothesis import settings

settings.register_profile("media", deadline=None)  # a busy machine is not a failure
settings.load_profile("media")

//! Manual to come with the first module.

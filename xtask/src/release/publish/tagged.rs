//! A crate as it was tagged, which is what is packed and uploaded, whatever came after the tag.

use std::path::Path;

use crate::failure::Failure;

use super::super::{
    export::Export,
    git::{Repository, Tag},
    packages::{self, Package},
    plan,
};

/// A crate in the tree of its tag.
#[derive(Debug)]
pub(crate) struct Tagged {
    /// That tree, in which all crates have their published names.
    pub(crate) export: Export,
    /// The crate as it is there.
    pub(crate) package: Package,
}

impl Tagged {
    /// The crate `now` of the work tree `root` as it is at the tag of its version, or why it is not there.
    ///
    /// The crates are those of the tag, which may lack some of `packages`, those of the work tree; the names
    /// under which they are published are those of today.
    pub(crate) fn of(
        root: &Path,
        now: &Package,
        packages: &[Package],
        registry: Option<&str>,
    ) -> Result<Result<Self, String>, Failure> {
        let (tag, version) = (now.tag(), now.version);
        if Repository::at(root).commit_of(&tag)?.is_none() {
            return Ok(Err(format!(
                "{} has version {version}, and there is no tag {tag}; `cargo xtask release prepare` makes it",
                now.path("Cargo.toml")
            )));
        }
        let name = tag.clone();
        let export = Export::of_tag(root, &Tag { name, version })?;
        let mut there = packages::published(export.directory())?;
        for package in &mut there {
            if let Some(now) = packages.iter().find(|now| now.name == package.name) {
                package.published.clone_from(&now.published);
            }
        }
        export.rename(&there, registry)?;
        let is_it = |it: &Package| it.name == now.name && it.version == version;
        let Some(place) = there.iter().position(is_it) else {
            return Ok(Err(format!("{tag} holds no {} {version}", now.name)));
        };
        let package = there.swap_remove(place);
        Ok(Ok(Self { export, package }))
    }

    /// What is not set in it and must be before it is uploaded.
    pub(crate) fn fault(&self) -> Option<String> {
        self.package.repository.is_none().then(|| {
            let tag = self.package.tag();
            format!("{tag} has no `repository`; it is what is uploaded: set it, and tag again")
        })
    }

    /// That the crate changed in the work tree `root` after it was tagged, if it did.
    pub(crate) fn note(&self, root: &Path) -> Result<Option<String>, Failure> {
        let Package { name, version, .. } = &self.package;
        let tag = Tag {
            name: self.package.tag(),
            version: *version,
        };
        let changed = plan::changed_files(root, &self.package, &tag)?;
        let told = format!(
            "note: {name} changed after {}; the tag is what is uploaded",
            tag.name
        );
        Ok((!changed.is_empty()).then_some(told))
    }
}

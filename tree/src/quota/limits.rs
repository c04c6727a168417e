//! The subtrees that have a quota: names as a tree of their own, so that the one around a path is found in one walk
//! along it.

use std::collections::BTreeMap;

/// One component of the paths that have a quota.
#[derive(Clone, Debug, Default)]
struct Branch {
    children: BTreeMap<Box<str>, u32>,
    parent: u32,
    has_limit: bool,
}

/// See the module's text. Branch 0 is the root, which itself can have no quota.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    branches: Vec<Branch>,
    free: Vec<u32>,
    len: usize,
}

impl Limits {
    pub(crate) fn new() -> Limits {
        Limits {
            branches: vec![Branch::default()],
            free: Vec::new(),
            len: 0,
        }
    }

    /// Whether nothing has a quota, as on most servers.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A subtree has a quota from now on.
    pub(crate) fn add(&mut self, path: &str) {
        let mut at = 0;
        for name in names(path) {
            at = match self.child(at, name) {
                Some(child) => child,
                None => self.push(at, name),
            };
        }
        if at != 0 && !std::mem::replace(&mut self.branch_mut(at).has_limit, true) {
            self.len += 1;
        }
    }

    /// A subtree has no quota any more.
    pub(crate) fn remove(&mut self, path: &str) {
        let mut names: Vec<&str> = names(path).collect();
        let mut at = 0;
        for name in &names {
            match self.child(at, name) {
                Some(child) => at = child,
                None => return,
            }
        }
        if std::mem::take(&mut self.branch_mut(at).has_limit) {
            self.len -= 1;
        }
        while let Some(name) = names.pop() {
            let branch = self.branch_mut(at);
            if branch.has_limit || !branch.children.is_empty() {
                return;
            }
            let parent = branch.parent;
            self.branch_mut(parent).children.remove(name);
            self.free.push(at);
            at = parent;
        }
    }

    /// The deepest subtree with a quota that a path is in, its top included.
    pub(crate) fn enclosing<'p>(&self, path: &'p str) -> Option<&'p str> {
        let mut found = None;
        let (mut at, mut end) = (0, 0);
        for name in path.strip_prefix('/')?.split('/') {
            let Some(child) = self.child(at, name) else {
                break;
            };
            at = child;
            end += 1 + name.len();
            if self.branches[at as usize].has_limit {
                found = Some(&path[..end]);
            }
        }
        found
    }

    /// All of them.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::with_capacity(self.len);
        let mut open = vec![(0, String::new())];
        while let Some((at, path)) = open.pop() {
            let branch = &self.branches[at as usize];
            for (name, &child) in &branch.children {
                open.push((child, format!("{path}/{name}")));
            }
            if branch.has_limit {
                paths.push(path);
            }
        }
        paths
    }

    fn child(&self, at: u32, name: &str) -> Option<u32> {
        self.branches[at as usize].children.get(name).copied()
    }

    fn branch_mut(&mut self, at: u32) -> &mut Branch {
        &mut self.branches[at as usize]
    }

    fn push(&mut self, parent: u32, name: &str) -> u32 {
        let branch = Branch {
            parent,
            ..Branch::default()
        };
        let at = match self.free.pop() {
            Some(at) => {
                *self.branch_mut(at) = branch;
                at
            }
            None => {
                self.branches.push(branch);
                (self.branches.len() - 1) as u32
            }
        };
        self.branch_mut(parent).children.insert(name.into(), at);
        at
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_one_counts_and_ends_with_its_limit() {
        let mut limits = Limits::new();
        assert_eq!(limits.enclosing("/a/b/c"), None);
        for path in ["/a", "/a/b/c", "/x/y", "/a"] {
            limits.add(path);
        }
        let check = |limits: &Limits, path, expected| {
            assert_eq!(limits.enclosing(path), expected, "{path}");
        };
        check(&limits, "/a", Some("/a"));
        check(&limits, "/ab", None);
        check(&limits, "/a/b", Some("/a"));
        check(&limits, "/a/b/c", Some("/a/b/c"));
        check(&limits, "/a/b/c/d/e", Some("/a/b/c"));
        check(&limits, "/a/b/cd", Some("/a"));
        check(&limits, "/x", None);
        check(&limits, "/", None);
        check(&limits, "", None);
        let mut paths = limits.paths();
        paths.sort();
        assert_eq!(paths, ["/a", "/a/b/c", "/x/y"]);
        limits.remove("/a");
        limits.remove("/a");
        limits.remove("/none/of/these");
        check(&limits, "/a/b", None);
        check(&limits, "/a/b/c/d", Some("/a/b/c"));
        limits.remove("/x/y");
        assert!(!limits.is_empty());
        limits.remove("/a/b/c");
        assert!(limits.is_empty());
        assert!(limits.branches[0].children.is_empty());
        assert_eq!(limits.free.len(), limits.branches.len() - 1);
        limits.add("/q");
        check(&limits, "/q/r", Some("/q"));
    }
}

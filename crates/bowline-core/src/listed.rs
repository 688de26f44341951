//! An enum that is a list: every variant with one line of words and a stable kebab-case name.

/// Makes such an enum, with `ALL`, `name`, `about` and `from_name`.
macro_rules! listed {
    ($(#[$of:meta])* $list:ident { $(#[doc = $about:literal] $variant:ident = $name:literal,)+ }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $list {
            $(#[doc = $about] $variant,)+
        }

        impl $list {
            /// All of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name: kebab-case, stable.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it is, in one line.
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => $about.trim_ascii(),)+
                }
            }

            /// The one of this name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

pub(crate) use listed;

/// What is wrong with a list's names, for its test: empty where they are kebab-case and each is another's.
#[cfg(test)]
pub(crate) fn wrong_names(names: &[&'static str]) -> Vec<&'static str> {
    let is_kebab = |name: &str| {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !name.is_empty() && name.chars().all(is_plain) && name.split('-').all(|word| !word.is_empty())
    };
    let mut seen = std::collections::BTreeSet::new();
    names.iter().copied().filter(|name| !is_kebab(name) || !seen.insert(*name)).collect()
}

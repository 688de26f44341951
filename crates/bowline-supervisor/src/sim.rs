//! What the simulation counts and switches on: probes on rare paths, and mutants. Both are listed in
//! `bowline-core`. Without the feature `sim` that crate is not used, and these are nothing to the compiler.

/// Says that a rare path was taken.
macro_rules! reached {
    ($path:ident) => {{
        #[cfg(feature = "sim")]
        bowline_core::probe::reached(bowline_core::probe::Path::$path);
    }};
}

/// Whether this mistake is switched on.
macro_rules! is_mutant {
    ($mutant:ident) => {{
        #[cfg(feature = "sim")]
        let is = bowline_core::mutant::is(bowline_core::mutant::Mutant::$mutant);
        #[cfg(not(feature = "sim"))]
        let is = false;
        is
    }};
}

//! What the programs that are started may see of the environment: names that are listed here, and no others.
//!
//! No list has a token in it. What may hold a password (a proxy, an index of packages) is for those alone that fetch
//! packages.

use std::ffi::OsString;
use std::path::PathBuf;

use super::Settings;

/// What every program may see.
const PROGRAMS: &[&str] = &[
    "PATH",
    "HOME",
    "USERPROFILE",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "XDG_CACHE_HOME",
    "LOCALAPPDATA",
    "SystemRoot",
    "SystemDrive",
    "ComSpec",
    "PATHEXT",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
];

/// What a compiler may see besides.
const COMPILERS: &[&str] = &[
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "CPPFLAGS",
    "LDFLAGS",
    "SDKROOT",
    "DEVELOPER_DIR",
    "MACOSX_DEPLOYMENT_TARGET",
    "INCLUDE",
    "LIB",
    "LIBPATH",
    "VCINSTALLDIR",
    "VSINSTALLDIR",
    "VCToolsInstallDir",
    "WindowsSdkDir",
    "WindowsSDKVersion",
];

/// What fetches Python packages may see besides: how the network is reached, and where packages are.
const PACKAGES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_TRUSTED_HOST",
    "PIP_CACHE_DIR",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "UV_FIND_LINKS",
    "UV_OFFLINE",
    "UV_CACHE_DIR",
    "UV_PYTHON",
];

/// Variables with their values, as a child gets them.
pub type Variables = Vec<(OsString, OsString)>;

impl Settings {
    /// What llama.cpp's programs may see.
    pub fn for_programs(&self) -> Variables {
        self.listed(PROGRAMS)
    }

    /// What a compiler may see besides.
    pub fn for_compilers(&self) -> Variables {
        self.listed(COMPILERS)
    }

    /// What fetches Python packages may see besides.
    pub fn for_packages(&self) -> Variables {
        self.listed(PACKAGES)
    }

    /// The folders that programs are looked for in, in order. One that is not absolute would be another one wherever this
    /// is started, such as in somebody's pull request.
    pub fn search(&self) -> Vec<PathBuf> {
        let path = (self.lookup)("PATH").unwrap_or_default();
        std::env::split_paths(&path).filter(|folder| folder.is_absolute()).collect()
    }

    fn listed(&self, names: &[&str]) -> Variables {
        let value = |name: &&str| (self.lookup)(name).map(|value| (OsString::from(name), value));
        names.iter().filter_map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn programs_are_looked_for_in_absolute_folders() {
        let here = std::env::temp_dir();
        let path =
            std::env::join_paths([Path::new(""), Path::new("bin"), here.as_path(), Path::new(".")]).unwrap();
        let settings = Settings::new(Box::new(move |name| (name == "PATH").then(|| path.clone()))).unwrap();
        assert_eq!(settings.search(), [here]);
    }

    #[test]
    fn children_see_what_is_listed() {
        let settings = Settings::new(Box::new(|name| {
            let known = ["PATH", "HF_TOKEN", "GITHUB_TOKEN", "CXXFLAGS", "PIP_INDEX_URL"];
            known.contains(&name).then(|| OsString::from("hf_0123456789abcdef"))
        }))
        .unwrap();
        let names = |variables: Variables| -> Vec<String> {
            variables.into_iter().map(|(name, _)| name.into_string().unwrap()).collect()
        };
        assert_eq!(names(settings.for_programs()), ["PATH"]);
        assert_eq!(names(settings.for_compilers()), ["CXXFLAGS"]);
        assert_eq!(names(settings.for_packages()), ["PIP_INDEX_URL"]);
        assert_eq!(settings.search(), Vec::<PathBuf>::new());
        for list in [PROGRAMS, COMPILERS, PACKAGES] {
            assert!(list.iter().all(|name| !name.contains("TOKEN") && !name.contains("SECRET")), "{list:?}");
        }
    }
}

//! `doctor`: what it finds on a machine, and what its exit code says of it.

use crate::support::command::Sandbox;
use crate::support::hub::{Hub, Role};

const YAML: &str = "version: 1
defaults: { methods: [Q8_0], publish: { owner: me } }
models: [{ source: ./tiny }]
";

#[test]
fn a_machine_that_lacks_nothing() {
    let hub = Hub::start();
    let mut sandbox = Sandbox::with_tiny();
    sandbox.write("models.yaml", YAML);
    let token = hub.token("me", Role::Write);
    sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", &token);
    let before = sandbox.tree("");
    let ran = sandbox.run("doctor").code(0).stdout("the token may create `me/tiny`").without(&token);
    let ran = ran.stdout("`output` can be written").stdout("`models.yaml` is valid: 1 model");
    assert!(!ran.stdout.contains("wrong") && !ran.stdout.contains("note"), "{ran}");
    assert_eq!(sandbox.tree(""), before, "nothing is left");
    let found = sandbox.run("doctor --json").code(0).result();
    assert!(found["findings"].as_array().unwrap().iter().all(|f| f["state"] == "ok"), "{found}");
    // The Hub was asked, and nothing was changed there.
    assert!(hub.seen().iter().all(|seen| seen.method == "GET" || seen.path.contains("preupload")));
    assert!(!hub.exists("me/tiny"));
}

#[test]
fn what_would_make_a_run_fail_is_wrong() {
    let hub = Hub::start();
    let mut sandbox = Sandbox::with_tiny();
    sandbox.write("models.yaml", YAML);
    sandbox.set("HF_ENDPOINT", hub.endpoint()).set("HF_TOKEN", hub.token("me", Role::Read));
    sandbox.run("doctor").code(4).stdout("wrong").stdout("hint: ");
    sandbox.unset("HF_TOKEN");
    sandbox.run("doctor").code(4).stdout("there is no token for the Hub");
    sandbox.write("models.yaml", YAML.replace("Q8_0", "Q8_O"));
    sandbox.run("doctor").code(3).stdout("wrong").stdout("models.yaml");
    // Without a models.yaml nothing is asked of the machine but that it can work.
    sandbox.run("doctor nowhere.yaml").code(0).stdout("`init` writes one");
    sandbox.set("JAMPH_OUTPUT", "models.yaml/x");
    sandbox
        .run("doctor nowhere.yaml")
        .code(3)
        .stdout("cannot be written (outputs)")
        .stdout("--output or JAMPH_OUTPUT");
}

//! The Home Assistant add-on (`cross/add-on`): what its Supervisor reads agrees with what the program knows.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::{Value, json};

use super::done;
use crate::harness::tested_binary;

/// A YAML file as JSON.
fn yaml(file: &Path) -> Value {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    assert!(program.exists(), "{} is missing; run: make setup", program.display());
    serde_json::from_str(&done(Command::new(program).args(["-c", script]).arg(file))).unwrap()
}

/// A value that Supervisor accepts for this element of its schema, of those that the add-on uses.
fn sample(key: &str, element: &Value) -> Value {
    match element {
        Value::Array(elements) => json!([sample(key, &elements[0])]),
        Value::Object(keys) => {
            keys.iter().map(|(key, element)| (key.clone(), sample(key, element))).collect()
        }
        Value::String(kind) if kind == "url" => json!("http://192.0.2.1/lanscan/json"),
        Value::String(kind) if kind.starts_with("list(") => {
            json!(kind.trim_start_matches("list(").split(['|', ')']).next().unwrap())
        }
        Value::String(kind) if kind.trim_end_matches('?') == "str" => match key {
            "discover" => json!("eth0"),
            "exclude" => json!("192.0.2.9"),
            "names" => json!("example.ui.nabu.casa"),
            "token_file" => json!("/config/token"),
            other => panic!("{other}: no sample is known"),
        },
        other => panic!("{key}: {other} is none of the kinds that the add-on uses"),
    }
}

fn keys(value: &Value) -> BTreeSet<&String> {
    value.as_object().unwrap().keys().collect()
}

/// Supervisor writes the options to a file, with which the add-on starts the program.
fn check_config(folder: &Path, options: &Value) -> (bool, String) {
    let file = folder.join("options.json");
    fs::write(&file, serde_json::to_string_pretty(options).unwrap()).unwrap();
    let ran = Command::new(tested_binary())
        .args(["check-config", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    (ran.status.success(), String::from_utf8_lossy(&[ran.stdout, ran.stderr].concat()).into_owned())
}

#[test]
fn home_assistants_add_on_starts_the_program_with_its_options() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("program"), "x").unwrap();
    let add_on = || folder.path().join("out/portscan");
    let put_together = |images: &[&str]| {
        let mut command = Command::new(root.join("cross/add-on"));
        command.arg("out").arg("1.2.3").args(images).current_dir(folder.path()).output().unwrap()
    };
    assert!(put_together(&["amd64=program", "arm64=program"]).status.success());
    let config = yaml(&add_on().join("config.yaml"));
    assert_eq!((&config["slug"], &config["version"]), (&json!("portscan"), &json!("1.2.3")));
    assert_eq!(config["arch"], json!(["aarch64", "amd64"]));
    let dockerfile = fs::read_to_string(add_on().join("Dockerfile")).unwrap();
    for arch in config["arch"].as_array().unwrap() {
        assert!(add_on().join(format!("portscan-{}", arch.as_str().unwrap())).exists());
    }
    assert!(dockerfile.contains("portscan-${BUILD_ARCH}") && dockerfile.contains("/data/options.json"));
    assert_eq!(config["environment"]["MY_REST_API_HOST_PORT"], json!(config["ingress_port"].to_string()));
    assert!(yaml(&folder.path().join("out/repository.yaml"))["name"].is_string());

    // The options as they come, and each of them set: the program knows them all.
    let (is_valid, said) = check_config(folder.path(), &config["options"]);
    assert!(is_valid, "{said}");
    let schema = &config["schema"];
    let mut options = sample("options", schema);
    // This machine has none of them.
    options["feed"]["discover"] = json!([]);
    options["auth"]["token_file"] = json!(folder.path().join("token"));
    fs::write(folder.path().join("token"), "a-token-of-ones-own\n").unwrap();
    fs::set_permissions(folder.path().join("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let (is_valid, said) = check_config(folder.path(), &options);
    assert!(is_valid, "{said}");
    options["feed"]["discoverr"] = json!(["eth0"]);
    let (is_valid, said) = check_config(folder.path(), &options);
    assert!(!is_valid && said.contains("discoverr"), "{said}");

    for language in ["en", "de"] {
        let translation = yaml(&add_on().join(format!("translations/{language}.yaml")));
        let translated = &translation["configuration"];
        assert_eq!(keys(translated), keys(schema), "{language}");
        for (key, section) in schema.as_object().unwrap().iter().filter(|(_, section)| section.is_object()) {
            assert_eq!(keys(&translated[key]["fields"]), keys(section), "{language}: {key}");
        }
    }
    let icon = fs::read(add_on().join("icon.png")).unwrap();
    // PNG's first chunk: width and height.
    assert_eq!((&icon[1..4], &icon[16..24]), (&b"PNG"[..], &[0, 0, 0, 128, 0, 0, 0, 128][..]));

    // It offers itself only where it runs.
    assert!(put_together(&["arm64=program"]).status.success());
    assert_eq!(yaml(&add_on().join("config.yaml"))["arch"], json!(["aarch64"]));
    assert!(!put_together(&["armv7=program"]).status.success());
}

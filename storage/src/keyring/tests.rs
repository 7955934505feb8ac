#![allow(clippy::unwrap_used)]

use super::*;
use std::borrow::Cow;

const HOUR: Duration = Duration::from_secs(3_600);

fn new_key(tenant: &str, scopes: &str) -> NewKey {
    let scopes = Scopes::parse(scopes).unwrap();
    NewKey { tenant: tenant.to_owned(), name: "a test".to_owned(), scopes, expires_at: None, test: false }
}

fn key(text: &str) -> Credentials<'_> {
    Credentials::Key(Cow::Borrowed(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_key_on_everybody_needs_one_and_it_decides_the_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(folder.path()).await.unwrap();
    let before = keyring.authenticate(&Credentials::Missing, Scope::Write).unwrap();
    assert_eq!(before.tenant(), &TenantId::default());
    keyring.authenticate(&key("of another system"), Scope::Read).unwrap();

    let acme = keyring.create(new_key("acme", "read"), Duration::ZERO).await.unwrap();
    assert!(acme.closed_from.is_some() && acme.key.starts_with("pk_live_") && acme.key.len() == 48);
    let grant = keyring.authenticate(&key(&acme.key), Scope::Read).unwrap();
    assert_eq!(grant.tenant().as_str(), "acme");
    let refused = |credentials: Credentials<'_>, scope| keyring.authenticate(&credentials, scope).unwrap_err();
    assert!(matches!(before.check(), Err(AccessError::Missing)), "who was in without a key is out");
    assert!(matches!(refused(Credentials::Missing, Scope::Write), AccessError::Missing));
    assert!(matches!(refused(Credentials::Unreadable, Scope::Read), AccessError::Unreadable));
    assert!(matches!(refused(key("pk_live_wrong"), Scope::Read), AccessError::Unknown));
    assert!(matches!(refused(key(&acme.key), Scope::Write), AccessError::NotAllowed { .. }));
    assert!(matches!(refused(key(&acme.key), Scope::Admin), AccessError::NotAllowed { .. }));

    let second = keyring.create(new_key("beta", "write"), HOUR).await.unwrap();
    assert_eq!(second.closed_from, None, "a later grace opens nothing");
    keyring.revoke(acme.info.id).await.unwrap();
    keyring.revoke(second.info.id).await.unwrap();
    assert!(matches!(grant.check(), Err(AccessError::Revoked { .. })));
    assert!(matches!(refused(key(&acme.key), Scope::Read), AccessError::Revoked { .. }));
    assert!(matches!(refused(Credentials::Missing, Scope::Read), AccessError::Missing), "closed for good");
    assert!(keyring.revoke(KeyId(99)).await.unwrap_err().to_string().contains("no API key 99"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_a_restart_and_their_text_is_nowhere_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(folder.path()).await.unwrap();
    let made = keyring.create(NewKey { test: true, ..new_key("acme", "read,write") }, Duration::ZERO).await.unwrap();
    keyring.authenticate(&key(&made.key), Scope::Write).unwrap();
    keyring.save_last_use().await.unwrap();
    keyring.close().await;
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let secret = &made.key.as_bytes()[8..];
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    let keyring = Keyring::open(folder.path()).await.unwrap();
    assert!(keyring.is_closed());
    assert_eq!(keyring.authenticate(&key(&made.key), Scope::Write).unwrap().tenant().as_str(), "acme");
    let [listed] = &keyring.list()[..] else { panic!("one key was made") };
    assert!(listed.last_used_at.is_some());
    assert_eq!(listed.shown, format!("pk_test_...{}", &made.key[made.key.len() - 4..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grace_lets_in_without_a_key_but_not_with_a_wrong_one() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(folder.path()).await.unwrap();
    keyring.create(new_key("acme", "read"), HOUR).await.unwrap();
    let grant = keyring.authenticate(&Credentials::Missing, Scope::Write).unwrap();
    grant.check().unwrap();
    assert!(keyring.authenticate(&key("pk_live_wrong"), Scope::Write).is_err());
    keyring.require();
    assert!(grant.check().is_err() && keyring.authenticate(&Credentials::Missing, Scope::Write).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_key_is_wanted_before_there_is_one_and_the_first_can_be_made() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(folder.path()).await.unwrap();
    keyring.require();
    for scope in [Scope::Read, Scope::Write] {
        assert!(matches!(keyring.authenticate(&Credentials::Missing, scope), Err(AccessError::Missing)));
    }
    keyring.authenticate(&Credentials::Missing, Scope::Admin).unwrap();
    assert!(keyring.anonymous().check().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_key_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let keyring = Keyring::open(folder.path()).await.unwrap();
    for tenant in ["", "Acme", "a/b", "-a", &"a".repeat(64)] {
        let error = keyring.create(new_key(tenant, "read"), Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("1 to 63"), "{tenant}: {error}");
    }
    let past = NewKey { expires_at: Some(UnixNanos(1)), ..new_key("a", "read") };
    assert!(keyring.create(past, Duration::ZERO).await.is_err());
    assert!(Scopes::parse("read,root").unwrap_err().to_string().contains("read, write, admin"));
    assert_eq!(keyring.closed_from(), None, "nothing was made");
    let soon = UnixNanos(UnixNanos::now().0 + 1_000_000);
    let key_text = loop {
        // Making a key takes a moment, which may be longer than its life.
        let expires_at = Some(UnixNanos(UnixNanos::now().0.max(soon.0) + 50_000_000));
        if let Ok(made) = keyring.create(NewKey { expires_at, ..new_key("a", "read") }, Duration::ZERO).await {
            break made;
        }
    };
    while UnixNanos::now() <= key_text.info.expires_at.unwrap() {
        tokio::task::yield_now().await;
    }
    let error = keyring.authenticate(&key(&key_text.key), Scope::Read).unwrap_err();
    assert!(matches!(error, AccessError::Expired { .. }));
}

/// Data comes back from a backup; who may come in does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_neither_opens_doors_nor_makes_a_revoked_key_good() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let keyring = Keyring::open(&old).await.unwrap();
    let made = keyring.create(new_key("acme", "read"), Duration::ZERO).await.unwrap();
    keyring.close().await;
    // A database without keys, and one with the key as it was before it was revoked.
    for with_key in [false, true] {
        let staged = folder.path().join(format!("staged-{with_key}"));
        if with_key {
            std::fs::create_dir(&staged).unwrap();
            std::fs::copy(old.join("control.db"), staged.join("control.db")).unwrap();
        }
        let now = Keyring::open(&new).await.unwrap();
        now.close().await;
        std::fs::copy(old.join("control.db"), new.join("control.db")).unwrap();
        let now = Keyring::open(&new).await.unwrap();
        now.revoke(made.info.id).await.unwrap();
        let second = now.create(new_key("beta", "write"), Duration::ZERO).await.unwrap();
        now.close().await;
        if !with_key {
            Keyring::open(&staged).await.unwrap().close().await;
        }
        let control = Control::open(&staged).await.unwrap();
        control.adopt_keys(&new.join("control.db")).await.unwrap();
        let restored = Keyring::load(control).await.unwrap();
        assert!(restored.is_closed());
        assert!(matches!(restored.authenticate(&key(&made.key), Scope::Read), Err(AccessError::Revoked { .. })));
        restored.authenticate(&key(&second.key), Scope::Write).unwrap();
    }
}

//! Users of this machine, by their names or numbers.
//!
//! Names are looked up in `/etc/passwd` alone. Who comes from elsewhere (LDAP, `systemd-userdb`) is named by number.

use std::cell::OnceCell;
use std::fs;

use telemetry_core::{OVERFLOW_UID, catalog::nearest};

/// Where users are listed.
const PASSWD: &str = "/etc/passwd";

/// The users of this machine. Their list is read when the first name is looked up.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The text of the list, or why it cannot be read.
    passwd: OnceCell<Result<String, String>>,
}

impl Known {
    /// The number of a user who is named by it or by name.
    pub(super) fn number(&self, text: &str) -> Result<u32, String> {
        let text = text.trim();
        let number = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // The largest number stands for none.
            text.parse()
                .ok()
                .filter(|uid| *uid != u32::MAX)
                .ok_or_else(|| {
                    format!(
                        "{text} is no user; numbers of users end at {}",
                        u32::MAX - 1
                    )
                })?
        } else {
            let read = || fs::read_to_string(PASSWD).map_err(|error| error.to_string());
            let passwd = self.passwd.get_or_init(read).as_ref();
            let passwd = passwd.map_err(|error| {
                format!(
                    "{text:?} cannot be looked up, use the number of the user: {PASSWD}: {error}"
                )
            })?;
            number_in(passwd, text)?
        };
        if number == OVERFLOW_UID {
            return Err(format!(
                "{text:?} is user {OVERFLOW_UID}, whom the system shows in place of any user that it cannot show; \
                 have the workers run as another one"
            ));
        }
        Ok(number)
    }
}

/// The number of a name in the text of a list.
fn number_in(passwd: &str, name: &str) -> Result<u32, String> {
    let users = || passwd.lines().filter_map(user);
    if let Some((_, number)) = users().find(|(known, _)| *known == name) {
        return Ok(number);
    }
    let meant = nearest(name, users().map(|(known, _)| known))
        .map(|known| format!("; did you mean {known:?}?"))
        .unwrap_or_default();
    Err(format!(
        "there is no user {name:?} in {PASSWD}{meant}; use a name of those there or the number of a user"
    ))
}

/// Name and number of a line: `name:password:number:…`. Other lines are nobody.
fn user(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split(':');
    let (name, number) = (fields.next()?, fields.nth(1)?);
    Some((name, number.parse().ok()?)).filter(|_| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "root:x:0:0:root:/root:/bin/bash\n# a remark\n+::::::\nbroken:x:many:\n\
                        www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n:x:7:\n\
                        www-data:x:34:34::/:\n";

    #[test]
    fn a_name_has_the_number_of_its_first_line() {
        assert_eq!(number_in(LIST, "www-data"), Ok(33));
        assert_eq!(number_in(LIST, "root"), Ok(0));
        for nobody in ["", "broken", "+", "# a remark"] {
            assert!(number_in(LIST, nobody).is_err(), "{nobody:?}");
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_told_with_the_nearest() {
        let said = number_in(LIST, "ww-data").unwrap_err();
        assert_eq!(
            said,
            "there is no user \"ww-data\" in /etc/passwd; did you mean \"www-data\"?; use a name of those there or \
             the number of a user"
        );
    }

    #[test]
    fn a_number_is_taken_as_it_is_and_names_of_this_machine_are_known() {
        let known = Known::default();
        assert_eq!(known.number("33"), Ok(33));
        assert!(known.passwd.get().is_none(), "no name was looked up");
        assert_eq!(known.number("root"), Ok(0));
        for number in ["4294967295", "99999999999"] {
            let said = known.number(number).unwrap_err();
            assert!(
                said.contains("numbers of users end at 4294967294"),
                "{said}"
            );
        }
        for text in ["-1", "0x21", ""] {
            assert!(known.number(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn whom_the_system_does_not_show_is_not_accepted_by_any_name() {
        let said = Known::default().number("65534").unwrap_err();
        assert!(said.contains("in place of any user"), "{said}");
    }
}

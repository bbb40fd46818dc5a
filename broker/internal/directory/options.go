package directory

// Options of the sections, letter for letter. Every one of them may also stand at the mailbox, in an application or in the
// defaults of its section. Which of them a section needs depends on its type and grant, and an application or the defaults
// may carry more than one mailbox needs: the others are known all the same.
var (
	bothOptions = []string{
		"server", "port", "address", "password", "grant-type", "secret", "secrets", "client-id", "directory-id", "tenant-authority",
		"scope", "token-expiry-margin-time", "mail.ews.auth.mechanisms", "connect-timeout", "protocol-timeout", "enable-authentication",
		"enable-debug", "exchange-version", "application", "certificate", "key", "certificates", "federated-token-file", serviceKey,
	}
	popOptions = []string{
		"type", "mailbox", "mail.imap.auth.mechanisms", "mail.pop3.auth.mechanisms", "mail.graph.auth.mechanisms", twoLineOption,
		"pop-connection-security", "cycle-time", "maximum-msg-size", "maximum-msg-number", "leave-msg-on-server", "disposition",
		"folder-path", "failed-items-folder-name", "junk", "deliver-to",
	}
	smtpOptions = []string{
		"server-type", "user", "mail.smtp.auth.mechanisms", "mail.graph.auth.mechanisms", "smtp-connection-security",
		"cnx-check-idle-time", "cnx-max-idle-time", "cnx-pool-size", "allow-delegate", "on-unknown", "sender-aliases", "sent-items",
		"maximum-messages-per-minute", "maximum-messages-per-day", "maximum-recipients-per-day",
	}
)

// mailboxOptions are those that only a mailbox has.
var mailboxOptions = []string{"pop-client", "smtp-client"}

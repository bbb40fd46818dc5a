package setup

import (
	"path/filepath"
	"strings"
	"testing"
)

const withSinks = "sinks: {default: {maildir: in}}\n"

// TestComplaints: each is one line with file, line, column, option, what is wrong and what to do.
func TestComplaints(t *testing.T) {
	dir := folder(t)
	for name, tc := range map[string]struct {
		kind Kind
		text string
		want string // after FILE:
	}{
		"nothing at all":      {Inbound, "", ` broker.address: is missing; name the broker: "dns:///broker.example:9443"`},
		"no state":            {Inbound, broker + withSinks, `1:1: state: is missing; write file:DIR for one process, or redis://host:6379/0 for a fleet`},
		"unknown option":      {Inbound, fetching + "amdin: x", `4:1: amdin: is no known option here; did you mean "admin"?`},
		"twice":               {Inbound, fetching + "state: file:x", `4:1: state: is given twice; keep one of them`},
		"admin":               {Inbound, fetching + "admin: 9091", `4:8: admin: "9091" is not host:port; write for example 127.0.0.1:9090`},
		"no port":             {Inbound, "broker: {address: broker.example}\n", `1:19: broker.address: "broker.example" is not HOST:PORT; name the broker`},
		"web address":         {Inbound, "broker: {address: 'https://broker:9443'}\n", `1:19: broker.address: "https://broker:9443" is not HOST:PORT`},
		"port 0":              {Inbound, "broker: {address: 'dns:///broker:0'}\n", `1:19: broker.address: "dns:///broker:0" is not HOST:PORT`},
		"no tls":              {Inbound, "broker: {address: 'b:1'}\n", `broker.tls.certificate: is missing; name a PEM file`},
		"clear text":          {Inbound, "broker: {address: 'b:1', insecure: true}\n", `1:36: broker.insecure: would show every token to the network: b is another machine; remove it and write tls`},
		"clear text and tls":  {Inbound, "broker: {address: 'localhost:1', insecure: true, tls: {}}\n", `broker.insecure: contradicts tls; remove one of them`},
		"token in the clear":  {Inbound, "broker: {address: 'localhost:1', insecure: true, token-file: token}\n", `broker.token-file: would travel in the clear; write tls in place of insecure`},
		"token without tls":   {Inbound, "broker: {address: 'b:1', token-file: token}\n", `broker.tls.ca: is missing; name a PEM file`},
		"token without ca":    {Inbound, "broker: {address: 'b:1', token-file: token, tls: {ca: no.pem}}\n", `broker.tls.ca: HERE/no.pem is not PEM`},
		"token and half":      {Inbound, "broker: {address: 'b:1', token-file: token, tls: {ca: ca.pem, key: worker-key.pem}}\n", `broker.tls.certificate: is missing`},
		"no such token":       {Inbound, "broker: {address: 'b:1', token-file: none, tls: {ca: ca.pem}}\n", `warning: broker.token-file: HERE/none: no such file or directory; mount a projected service-account token there`},
		"certificate missing": {Inbound, "broker: {address: 'b:1', tls: {certificate: none.pem, key: worker-key.pem, ca: ca.pem}}\n", `1:45: broker.tls.certificate: HERE/none.pem cannot be read: no such file or directory; have it issued anew`},
		"key of another kind": {Inbound, "broker: {address: 'b:1', tls: {certificate: worker.pem, key: ca.pem, ca: ca.pem}}\n", `1:62: broker.tls.key: HERE/ca.pem is no private key that matches HERE/worker.pem`},
		"ca is no PEM":        {Inbound, "broker: {address: 'b:1', tls: {certificate: worker.pem, key: worker-key.pem, ca: no.pem}}\n", `1:82: broker.tls.ca: HERE/no.pem is not PEM`},
		"trusted-ca":          {Inbound, fetching + "trusted-ca: [no.pem]", `4:13: trusted-ca: HERE/no.pem: no certificate in it`},
		"trusted-ca missing":  {Inbound, fetching + "trusted-ca: none.pem", `4:13: trusted-ca: HERE/none.pem: no such file or directory; name PEM files of certificates`},

		"state of another kind": {Inbound, "state: memory", `1:8: state: is no place to keep state; write file:DIR`},
		"state without folder":  {Inbound, "state: 'file:'", `1:8: state: names no folder; write file:DIR`},
		"state is a file":       {Inbound, "state: file:secret", `1:8: state: HERE/secret is no folder; name a folder that the worker may write to`},
		"state below a file":    {Inbound, "state: file:secret/state", `1:8: state: HERE/secret/state cannot be used`},
		"state not writable":    {Inbound, "state: file:/proc/1/fdinfo/x", `1:8: state: /proc`},
		"redis without host":    {Inbound, "state: redis://", `1:8: state: the URL is none of redis://HOST:PORT/DB`},
		"redis of a kind":       {Inbound, "state: redis+mirror://:" + marker + "@h", `1:8: state: the URL is none of`},
		"sentinel unnamed":      {Inbound, "state: redis+sentinel://a,b/0", `1:8: state: the URL is none of`},
		"password shown":        {Inbound, broker + "state: redis://:" + marker + "@h\n" + withSinks, `2:8: warning: state: a password stands in the address; take it out and write state-password: {file: PATH}`},
		"password nowhere":      {Inbound, "state: redis://h\nstate-password: {file: none}", `2:17: state-password: read secret: stat HERE/none: no such file or directory; name a readable file`},
		"password in the file":  {Inbound, "state: redis://h\nstate-password: " + marker, `2:17: warning: state-password: a secret stands in the file itself`},
		"password of a folder":  {Inbound, "state: file:s\nstate-password: {file: secret}", `2:17: state-password: a folder has no password; remove it`},

		"no sinks":          {Inbound, broker + "state: file:s", `1:1: sinks: has no sink of the name default; write sinks: {default: {maildir: PATH}}`},
		"no default":        {Inbound, "sinks: {helpdesk: {maildir: in}}", `1:8: sinks: has no sink of the name default`},
		"sink is a file":    {Inbound, "sinks: {default: {maildir: secret}}", `1:28: sinks.default.maildir: HERE/secret is no folder`},
		"sink of no kind":   {Inbound, "sinks: {default: {}}", `sinks.default.maildir: is missing; write {maildir: PATH}, {lmtp: HOST:PORT}, {webhook: URL} or {redis-stream: NAME}`},
		"sink misspelt":     {Inbound, "sinks: {default: {mailbox: in}}", `1:19: sinks.default.mailbox: is no known option here; did you mean "maildir"?`},
		"sink of two kinds": {Inbound, "sinks: {default: {maildir: in, lmtp: 'h:24'}}", `sinks.default.maildir: contradicts lmtp; keep one: a sink delivers to one place`},
		"option elsewhere":  {Inbound, "sinks: {default: {maildir: in, hmac-key: {file: secret}}}", `sinks.default.hmac-key: is no known option here`},
		"lmtp nowhere":      {Inbound, "sinks: {default: {lmtp: 'h'}}", `1:25: sinks.default.lmtp: "h" is neither HOST:PORT nor unix:/path; name the LMTP server`},
		"lmtp in the clear": {Inbound, "sinks: {default: {lmtp: 'h:24', security: none}}", `1:43: sinks.default.security: would send mail in the clear to h; write start-tls or ssl-tls`},
		"lmtp of a kind":    {Inbound, "sinks: {default: {lmtp: 'h:24', security: tls}}", `sinks.default.security: "tls" is none of none, start-tls, ssl-tls`},
		"lmtp to nobody":    {Inbound, "sinks: {default: {lmtp: 'unix:/l', recipient: 'a b'}}", `sinks.default.recipient: "a b" is no address`},
		"webhook unsigned":  {Inbound, "sinks: {default: {webhook: 'https://h'}}", `1:28: warning: sinks.default.webhook: the receiver cannot tell these posts from forged ones; write hmac-key`},
		"webhook in clear":  {Inbound, "sinks: {default: {webhook: 'http://h/in', hmac-key: {file: secret}}}", `sinks.default.webhook: would send mail in the clear to h`},
		"webhook password":  {Inbound, "sinks: {default: {webhook: 'https://u:" + marker + "@h/in'}}", `sinks.default.webhook: holds a password; write it under authorization`},
		"weak key":          {Inbound, "sinks: {default: {webhook: 'https://h', hmac-key: {file: secret}}}", `sinks.default.hmac-key: has 14 bytes; at least 24 keep a forger out; make one: openssl rand -base64 32`},
		"key nowhere":       {Inbound, "sinks: {default: {webhook: 'https://h', hmac-key: {file: none}}}", `sinks.default.hmac-key: read secret: stat HERE/none: no such file or directory`},
		"stream nowhere":    {Inbound, "sinks: {default: {redis-stream: s}}", `sinks.default.redis: is missing; write redis://HOST:6379/0`},
		"stream unnamed":    {Inbound, "sinks: {default: {redis-stream: '{a}', redis: 'redis://h'}}", `sinks.default.redis-stream: "{a}" cannot name a stream`},
		"stream of a kind":  {Inbound, "sinks: {default: {redis-stream: s, redis: 'http://" + marker + "'}}", `sinks.default.redis: the URL is none of`},
		"stream password":   {Inbound, "sinks: {default: {redis-stream: s, redis: 'redis://:" + marker + "@h'}}", `warning: sinks.default.redis: a password stands in the address; take it out and write redis-password: {file: PATH}`},
		"intake of senders": {Inbound, fetching + "intake: {smtp: {}}", `4:9: intake: is for workers that send mail; remove it from this file`},
		"sinks of fetchers": {Outbound, sending + withSinks, `4:8: sinks: is for workers that fetch mail; remove it from this file`},

		"no way in":             {Outbound, "intake: {}", `intake.smtp: is missing: there would be no way in; write intake: {smtp: {listen: 127.0.0.1:2525}}`},
		"way in misspelt":       {Outbound, "intake: {gprc: {}}", `1:10: intake.gprc: is no known option here; did you mean "grpc"?`},
		"one port for two":      {Outbound, "intake: {smtp: {listen: '127.0.0.1:1'}, grpc: {listen: '127.0.0.1:1', insecure: true}}", `intake.grpc: listens at 127.0.0.1:1, as smtp does; give one of them another port`},
		"grpc without tls":      {Outbound, "intake: {grpc: {}}", `intake.grpc.tls: is missing; write tls: {certificate: PEM, key: PEM, client-ca: PEM}, or insecure: true for a trial on loopback`},
		"grpc without ca":       {Outbound, "intake: {grpc: {tls: {certificate: worker.pem, key: worker-key.pem}}}", `intake.grpc.tls.client-ca: is missing`},
		"grpc in the clear":     {Outbound, "intake: {grpc: {listen: '0.0.0.0:9444', insecure: true}}", `intake.grpc.insecure: would let everybody who reaches 0.0.0.0:9444 send as any mailbox; remove it and write tls`},
		"grpc in two ways":      {Outbound, "intake: {grpc: {insecure: true, tls: {certificate: worker.pem, key: worker-key.pem, client-ca: ca.pem}}}", `intake.grpc.insecure: contradicts tls; remove one of them`},
		"grpc of unknown":       {Outbound, "intake: {grpc: {insecure: true, clients: [{identity: a}]}}", `intake.grpc.clients: cannot be told from others without tls`},
		"no listener":           {Outbound, "intake: {smtp: []}", `intake.smtp: lists no listener; write some`},
		"one port for two smtp": {Outbound, "intake: {smtp: [{}, {}]}", `intake.smtp[1].listen: is 127.0.0.1:2525, as another listener has it; give one of them another port`},
		"a port of another":     {Outbound, "intake: {smtp: [{}, {listen: '127.0.0.1:1'}], grpc: {listen: '127.0.0.1:1', insecure: true}}", `intake.grpc: listens at 127.0.0.1:1, as smtp does`},
		"two names":             {Outbound, "intake: {smtp: [{hostname: a.example}, {hostname: b.example, listen: '127.0.0.1:1'}]}", `intake.smtp[1].hostname: is not a.example, as the first listener has it; give it there alone`},
		"clients without ca":    {Outbound, "intake: {smtp: {clients: [{identity: a}]}}", `intake.smtp.clients: cannot be told from others: no client certificates are asked for; write tls`},
		"clients of nobody":     {Outbound, "intake: {smtp: {clients: []}}", `intake.smtp.clients: names nobody; name the clients, or remove it`},
		"client without name":   {Outbound, "intake: {smtp: {clients: [{}]}}", `intake.smtp.clients[0].identity: is missing; write the SPIFFE URI`},
		"client twice":          {Outbound, "intake: {grpc: {clients: [{identity: a}, {identity: a}]}}", `intake.grpc.clients[1].identity: "a" is given twice`},
		"senders":               {Outbound, "intake: {folder: {path: x, senders: ['*@*.example']}}", `intake.folder.senders: "*@*.example" is no address and no *@DOMAIN; write a@example.com, or *@example.com`},
		"sender without domain": {Outbound, "intake: {smtp: {users: [{user: a, password: {file: secret}, senders: [a]}]}}", `intake.smtp.users[0].senders: "a" is no address and no *@DOMAIN`},
		"senders of nobody":     {Outbound, "intake: {folder: {path: x, senders: []}}", `intake.folder.senders: names no address; name some`},
		"null-sender":           {Outbound, "intake: {grpc: {null-sender: me}}", `intake.grpc.null-sender: "me" is no mail address; name a mailbox`},
		"folder without path":   {Outbound, "intake: {folder: {poll: '00:00:05'}}", `intake.folder.path: is missing; name the folder to drop files in`},
		"folder is a file":      {Outbound, "intake: {folder: secret}", `1:18: intake.folder: HERE/secret is no folder; name a folder that the worker may write to`},
		"folder not writable":   {Outbound, "intake: {folder: {path: /proc/1/fdinfo/x}}", `intake.folder.path: /proc`},
		"poll":                  {Outbound, "intake: {folder: {path: x, poll: '00:00:00'}}", `intake.folder.poll: `},
		"listen":                {Outbound, "intake: {smtp: {listen: here}}", `1:25: intake.smtp.listen: "here" is not host:port`},
		"allow":                 {Outbound, "intake: {smtp: {allow: [10.0.0.0/33]}}", `1:24: intake.smtp.allow: "10.0.0.0/33" is no address range; write 10.1.0.0/16 or a single address`},
		"allow everybody":       {Outbound, "intake: {smtp: {allow: ['::/0']}}", `1:24: warning: intake.smtp.allow: ::/0 lets everybody who reaches the listener send as any mailbox`},
		"users without tls":     {Outbound, "intake: {smtp: {users: [{user: a, password: {file: secret}}]}}", `1:24: intake.smtp.users: would send their passwords in the clear; write tls`},
		"user without name":     {Outbound, "intake: {smtp: {users: [{password: {file: secret}}]}}", `intake.smtp.users[0].user: is missing; name the user`},
		"user without password": {Outbound, "intake: {smtp: {users: [{user: a}]}}", `intake.smtp.users[0].password: is missing; write {file: PATH} or {env: NAME}`},
		"empty password file":   {Outbound, "intake: {smtp: {users: [{user: a, password: {file: empty}}]}}", `intake.smtp.users[0].password: read secret: HERE/empty is empty`},
		"user twice":            {Outbound, "intake: {smtp: {users: [{user: a, password: {file: secret}}, {user: a, password: {file: secret}}]}}", `1:69: intake.smtp.users[1].user: "a" is given twice`},
		"implicit tls":          {Outbound, "intake: {smtp: {implicit-tls: true}}", `intake.smtp.implicit-tls: needs a certificate; write tls`},
		"intake key missing":    {Outbound, "intake: {smtp: {tls: {certificate: worker.pem}}}", `intake.smtp.tls.key: is missing; name a PEM file`},
		"intake certificate":    {Outbound, "intake: {smtp: {tls: {certificate: no.pem, key: worker-key.pem}}}", `1:36: intake.smtp.tls.certificate: HERE/no.pem is not PEM`},
		"client-ca":             {Outbound, "intake: {smtp: {tls: {certificate: worker.pem, key: worker-key.pem, client-ca: no.pem}}}", `intake.smtp.tls.client-ca: HERE/no.pem is not PEM`},
		"size":                  {Outbound, "intake: {smtp: {maximum-size: huge}}", `1:31: intake.smtp.maximum-size: "huge" is not a size`},
		"recipients":            {Outbound, "intake: {smtp: {maximum-recipients: 0}}", `1:37: intake.smtp.maximum-recipients: "0" is not a whole number from 1 to 100000`},
		"reports to nobody":     {Outbound, "reports: {delay-after: '01:00:00'}", `1:10: reports.to: is missing; write sender, an address, or none`},
		"reports to no address": {Outbound, "reports: {to: postmaster}", `1:15: reports.to: "postmaster" is no address; write sender, an address, or none`},
		"reports to a name":     {Outbound, "reports: {to: 'Post <p@x.example>'}", `reports.to: "Post <p@x.example>" is no address`},
		"reports through none":  {Outbound, "reports: {to: sender, through: postmaster}", `1:32: reports.through: "postmaster" is no address; write the address of a mailbox that this worker sends from`},
		"delay-after":           {Outbound, "reports: {to: sender, delay-after: 4h}", `1:36: reports.delay-after: "4h" is not a time of the form hh:mm:ss`},
		"reports of fetchers":   {Inbound, fetching + "reports: {to: sender}", `4:10: reports: is for workers that send mail; remove it from this file`},
		"give-up":               {Outbound, "retry: {give-up: 5d}", `1:18: retry.give-up: "5d" is not a time of the form hh:mm:ss`},
	} {
		t.Run(name, func(t *testing.T) {
			_, found := load(t, dir, tc.text, tc.kind)
			got := found.Error()
			if want := strings.ReplaceAll(tc.want, "HERE", dir); !strings.Contains(got, want) || !strings.Contains(got, filepath.Join(dir, "worker.yaml")+":") {
				t.Errorf("complaints:\n%s\nwant: %s", got, want)
			}
			if strings.Contains(got, marker) {
				t.Errorf("a secret shows:\n%s", got)
			}
		})
	}
}

// FuzzLoad: no file makes it panic, or show a secret, and a file without complaints is complete.
func FuzzLoad(f *testing.F) {
	for _, text := range []string{fetching, sending, "state: redis+cluster://:" + marker + "@a,b", "intake: {smtp: {users: [{}], allow: [x]}}", "sinks: {default: {webhook: 1}}", "sinks: {default: {lmtp: 'unix:/l'}, a: {redis-stream: s, redis: 'redis://h'}, b: {webhook: 'https://h'}}",
		"broker: {address: 'dns://x', insecure: true}", "state: [file:x]", "retry: {give-up: '00:00:01'}", "reports: {to: x, delay-after: 1}", broker + "state: file:s\nintake: {folder: {path: x, senders: [a]}, grpc: {insecure: true, clients: [{identity: a}]}}"} {
		f.Add([]byte(text), false)
		f.Add([]byte(text), true)
	}
	dir := folder(f)
	f.Fuzz(func(t *testing.T, text []byte, sends bool) {
		kind := Inbound
		if sends {
			kind = Outbound
		}
		c, found := load(t, dir, string(text), kind)
		if strings.Contains(found.Error(), marker) && !strings.Contains(string(text), marker) {
			t.Fatal("a secret shows")
		}
		if found.Err() != nil {
			return
		}
		if c.Broker.Address == "" || (c.State.Folder == "") == (c.State.Redis == "") {
			t.Fatalf("no complaint about %q: %+v", text, c)
		}
		if kind == Inbound && c.Sinks["default"] == (Sink{}) || kind == Outbound && !c.Sends() {
			t.Fatalf("no complaint about %q: %+v", text, c)
		}
	})
}

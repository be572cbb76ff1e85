package main

import "github.com/alecthomas/kong"

// cli is the command line. What is a setting, and not an option of one command
// only, has an environment variable and may stand in the configuration file.
type cli struct {
	Serve     serveCmd     `cmd:"" default:"withargs" help:"Run the server. Also what maru does when no command is given."`
	User      userCmd      `cmd:"" help:"Add and change users."`
	Where     whereCmd     `cmd:"" help:"Show where a user lives: partition, home, epoch, since when."`
	Topics    topicsCmd    `cmd:"" help:"Show topics and slots: leaders, replicas, owners, lag."`
	Residents residentsCmd `cmd:"" help:"Show which users each slot of the running process holds in memory."`
	Repair    repairCmd    `cmd:"" help:"Put checkpoints that lie outside of their log back into it."`
	Health    healthCmd    `cmd:"" help:"Ask a server whether it is ready, for container health checks."`
	Bench     benchCmd     `cmd:"" help:"Measure what maru can do on this machine."`
	Secret    secretCmd    `cmd:"" help:"Make the secret that the processes of a cluster share."`
	Version   versionCmd   `cmd:"" help:"Show the version of this binary."`
	Help      helpCmd      `cmd:"" help:"Explain maru or one of its commands."`
	Settings  settingsCmd  `cmd:"" hidden:"" help:"Write the table of settings in Markdown."`
}

type userCmd struct {
	Add    userAddCmd    `cmd:"" help:"Add a user; the password is read from standard input."`
	Passwd userPasswdCmd `cmd:"" help:"Set the password of a user and end all of the user's sessions."`
	Admin  userAdminCmd  `cmd:"" help:"Make a user an administrator, or no longer one."`
}

// groups are the headings under which help and documentation list the settings.
var groups = []kong.Group{
	{Key: "process", Title: "Process:"},
	{Key: "kafka", Title: "Kafka and database:"},
	{Key: "topics", Title: "Names on Kafka:"},
	{Key: "accounts", Title: "Passwords and limits:"},
	{Key: "http", Title: "HTTP:"},
	{Key: "log", Title: "Log:"},
}

// serveCmd has every setting there is.
type serveCmd struct {
	processFlags
	dataFlags
	clusterFlags
	homeFlags
	accountFlags
	httpFlags
	logFlags
}

type processFlags struct {
	Role   string `placeholder:"ROLE" enum:"all,gateway,home" default:"${role}" env:"MARU_ROLE" group:"process" help:"What this process is (${default}): gateway (REST), home (owns users), or all of it. Either part alone needs --kafka and --database."`
	Listen string `placeholder:"HOST:PORT" default:"${listen}" env:"MARU_LISTEN" group:"process" help:"Where HTTP is served (${default}); :8080 means all interfaces. A home serves only health and metrics there."`
	Name   string `env:"MARU_NAME" group:"process" help:"Name of this process in logs and tables. Empty: host name and process id."`

	SecretFile string `placeholder:"FILE" env:"MARU_SECRET_FILE" group:"process" help:"File with the secret that all processes of a cluster share (mode 0600). Empty: the file 'secret' under --data, made at the first start. MARU_SECRET may hold the secret itself."`
	TimeZone   string `placeholder:"NAME" default:"${timezone}" env:"MARU_TIME_ZONE" group:"process" help:"Time zone of the dates in login answers, an IANA name (${default})."`
}

// dataFlags are what every command takes that talks to a server.
type dataFlags struct {
	Data   string `placeholder:"DIR" default:"${data}" env:"MARU_DATA" group:"process" help:"Directory of maru's files (${default}): secret, admin.sock, and the log and database of the embedded default."`
	Config string `placeholder:"FILE" env:"MARU_CONFIG" group:"process" help:"JSON file with settings under their names here without the dashes in front, such as {\"listen\": \":80\", \"kafka\": [\"a:9092\", \"b:9092\"]}. The command line beats the environment, which beats the file."`
}

// clusterFlags say where a cluster is and what its parts are called.
type clusterFlags struct {
	Kafka         []string `placeholder:"HOST:PORT" env:"MARU_KAFKA" group:"kafka" help:"Brokers of the cluster. Empty: the embedded broker, which keeps its log under --data."`
	Database      string   `placeholder:"DSN" env:"MARU_DATABASE" group:"kafka" help:"postgres://user:password@host:port/name, or the path of an SQLite file. Empty: maru.db under --data."`
	Partitions    int32    `placeholder:"N" env:"MARU_PARTITIONS" group:"kafka" help:"Partitions of the topics, at least as many as homes should work at once. Decided by the first start (${partitions} if not given) and recorded in the database; later another number is refused."`
	Replicas      int16    `placeholder:"N" default:"${replicas}" env:"MARU_REPLICAS" group:"kafka" help:"Replicas of topics that maru makes (${default})."`
	Group         string   `name:"group" placeholder:"NAME" default:"${group}" env:"MARU_GROUP" group:"topics" help:"Consumer group of the homes (${default})."`
	LoginRequest  string   `placeholder:"NAME" default:"${loginrequest}" env:"MARU_LOGIN_REQUEST" group:"topics" help:"Topic of login requests (${default})."`
	LoginResponse string   `placeholder:"NAME" default:"${loginresponse}" env:"MARU_LOGIN_RESPONSE" group:"topics" help:"Topic of login answers (${default})."`
	Commands      string   `placeholder:"NAME" default:"${commands}" env:"MARU_COMMANDS" group:"topics" help:"Topic of commands, the log of the homes (${default})."`
	Delivery      string   `placeholder:"NAME" default:"${delivery}" env:"MARU_DELIVERY" group:"topics" help:"Topic of what gateways are told (${default})."`
}

type homeFlags struct {
	KafkaListen string   `placeholder:"HOST:PORT" default:"${kafkalisten}" env:"MARU_KAFKA_LISTEN" group:"kafka" help:"Where Kafka's own tools reach the embedded broker (${default}). Empty: nowhere. Whoever reaches it may read every topic: keep it on the loopback."`
	KeepLog     duration `placeholder:"TIME" default:"${keeplog}" env:"MARU_KEEP_LOG" group:"kafka" help:"How long commands stay in the log after they are in the database (${default})."`
	Session     duration `placeholder:"TIME" default:"${session}" env:"MARU_SESSION" group:"kafka" help:"How long a silent home keeps its slots before others take over (${default})."`
}

// accountFlags are the rules of passwords and the limits of attempts.
type accountFlags struct {
	passwordFlags
	PasswordWorkers int  `placeholder:"N" default:"0" env:"MARU_PASSWORD_WORKERS" group:"accounts" help:"Passwords hashed at the same time. 0: one per processor."`
	FailedLogins    rate `placeholder:"N/TIME" default:"${failedlogins}" env:"MARU_FAILED_LOGINS" group:"accounts" help:"Failed logins allowed per client address (${default}); 0 for no limit."`
	Registrations   rate `placeholder:"N/TIME" default:"${registrations}" env:"MARU_REGISTRATIONS" group:"accounts" help:"New accounts allowed per client address (${default}); 0 for no limit."`
}

type passwordFlags struct {
	PasswordMin    int    `placeholder:"BYTES" default:"${passwordmin}" env:"MARU_PASSWORD_MIN" group:"accounts" help:"Shortest password (${default})."`
	PasswordMemory uint32 `placeholder:"KIB" default:"${passwordmemory}" env:"MARU_PASSWORD_MEMORY" group:"accounts" help:"Memory of one argon2id hash in KiB (${default})."`
	PasswordTime   uint32 `placeholder:"N" default:"${passwordtime}" env:"MARU_PASSWORD_TIME" group:"accounts" help:"Passes of one argon2id hash (${default})."`
}

type httpFlags struct {
	TrustedProxies []prefix `placeholder:"CIDR" env:"MARU_TRUSTED_PROXIES" group:"http" help:"Proxies whose X-Forwarded-For names the client, such as 10.0.0.0/8. Empty: none is believed."`
	Origins        []string `placeholder:"URL" env:"MARU_ORIGINS" group:"http" help:"Other web origins that may change things with a user's cookie, such as https://chat.example."`
}

type logFlags struct {
	LogLevel  string `placeholder:"LEVEL" enum:"debug,info,warn,error" default:"info" env:"MARU_LOG_LEVEL" group:"log" help:"Least level that is logged: debug, info, warn or error (${default})."`
	LogFormat string `placeholder:"FORM" enum:"text,json" default:"text" env:"MARU_LOG_FORMAT" group:"log" help:"Form of the lines on standard error: text or json (${default})."`
}

<?php
declare(strict_types=1);

/** What a handler returns; without a body, it is null. */
final class Answer
{
    public function __construct(public int $status, public mixed $body = null, public array $headers = [])
    {
    }
}

/** Rolls the transaction back; the client gets the answer, which may be stored. */
final class Undone extends Exception
{
    public function __construct(public Answer $answer, public bool $stored = false)
    {
        parent::__construct();
    }
}

/**
 * Carries out a request once for each Idempotency-Key.
 *
 * Claim, work and answer are one transaction, and nothing is sent before it has
 * committed.  An answer under 500 is stored.  An exception, and an answer of 500
 * and above, undoes the work and stores nothing, so that a retry runs the
 * handler again.
 */
final class Idempotent
{
    private const STORED = ['content-language', 'content-location', 'content-type', 'etag', 'last-modified', 'link', 'location'];
    private const TITLES = [
        400 => 'The request or its Idempotency-Key is not acceptable',
        409 => 'A request with this Idempotency-Key is being carried out',
        412 => 'The request is too old to be sent again',
        413 => 'The answer is too large to be stored',
        422 => 'The Idempotency-Key was used for a different request',
    ];
    /** SQLSTATEs for a body that is not JSON, or that jsonb can't hold. */
    private const NOT_JSONB = ['22P02', '22P05', '22021', '22003', '54001'];

    public function __construct(private PDO $db, private Closure $caller)
    {
    }

    /** Runs the handler, and sends its answer or the stored one. */
    public function run(string $operation, Closure $handler): void
    {
        do {
            [$answer, $again] = $this->attempt($operation, $handler);
            // In a new transaction; in between another request may have
            // claimed the key, whose answer is then sent here too.
            $handler = fn () => $answer;
        } while ($again);
        http_response_code($answer->status);
        foreach ($answer->headers as $name => $value) {
            header("$name: $value");
        }
        echo $answer->body;
    }

    private function attempt(string $operation, Closure $handler): array
    {
        $this->db->beginTransaction();
        try {
            $answer = $this->answer($operation, $handler);
            $this->db->commit();
            return [$answer, false];
        } catch (Throwable $error) {
            if ($this->db->inTransaction()) {
                $this->db->rollBack();
            }
            return $error instanceof Undone ? [$error->answer, $error->stored] : throw $error;
        }
    }

    private function answer(string $operation, Closure $handler): Answer
    {
        $caller = ($this->caller)() ?: throw new LogicException('the caller of the request is unknown');
        $scope = $operation . '/' . rawurlencode($caller);
        $header = $_SERVER['HTTP_IDEMPOTENCY_KEY'] ?? null;
        if (str_contains((string) $header, ',')) {
            throw new Undone(self::problem(400)); // PHP joins several headers by commas
        }
        [$path, $query] = explode('?', $_SERVER['REQUEST_URI'], 2) + [1 => ''];
        $claim = $this->query(
            "SELECT key, outcome, status_code, ceil(extract(epoch FROM retry_after))::integer AS retry_after,
                    response -> 'headers' AS headers, response ->> 'body' AS body
               FROM idempotency.parse_header(?) AS key,
                    idempotency.claim(key => key, scope => ?, wait => '0', request => jsonb_build_object(
                        'method', ?::text, 'path', ?::text, 'query', ?::text, 'body', ?::jsonb))",
            [$header, $scope, $_SERVER['REQUEST_METHOD'], $path, $query, self::body()],
            claiming: true,
        );
        if ($claim->outcome === 'replay') {
            $headers = json_decode($claim->headers ?? '{}', true);
            return new Answer($claim->status_code, $claim->body, $headers + ['idempotent-replayed' => 'true']);
        }
        if ($claim->outcome === 'recovered') { // a previous owner has committed a part of the work
            throw new LogicException("claims of the scope have a lease: $scope");
        }
        if ($claim->outcome !== 'new') {
            return self::problem($claim->status_code, $claim->retry_after);
        }

        $made = $handler($this->db);
        $answer = self::encoded($made);
        if ($answer->status >= 500) {
            throw new Undone($answer);
        }
        $stored = ['headers' => (object) array_intersect_key($answer->headers, array_flip(self::STORED)), 'body' => $answer->body];
        try {
            $this->query(
                'SELECT idempotency.complete(key => ?, scope => ?, status_code => ?, response => ?)',
                [$claim->key, $scope, $answer->status, json_encode($stored, JSON_THROW_ON_ERROR)],
            );
        } catch (PDOException $error) {
            // A refusal is stored even if the handler has caught an error of the database.
            throw $error->getCode() === '25P02' && $answer->status >= 400 ? new Undone($made, stored: true) : $error;
        }
        return $answer;
    }

    /** The body of the request as JSON, whatever it is. */
    private static function body(): ?string
    {
        $body = file_get_contents('php://input');
        if ($body === '') {
            return null;
        }
        $json = preg_match('~^application/([^;]*\+)?json\b~i', $_SERVER['CONTENT_TYPE'] ?? '');
        return $json ? $body : json_encode(base64_encode($body));
    }

    private static function encoded(Answer $answer): Answer
    {
        $headers = array_change_key_case($answer->headers);
        if ($answer->body === null) {
            return new Answer($answer->status, null, $headers);
        }
        $body = json_encode($answer->body, JSON_THROW_ON_ERROR);
        return new Answer($answer->status, $body, $headers + ['content-type' => 'application/json']);
    }

    private static function problem(int $status, ?int $retryAfter = null): Answer
    {
        $headers = ['content-type' => 'application/problem+json'] + ($status === 409 ? ['retry-after' => $retryAfter ?? 1] : []);
        return new Answer($status, json_encode(['title' => self::TITLES[$status], 'status' => $status]), $headers);
    }

    /** Answers what the client has caused; any other error is a fault of the service. */
    private function query(string $sql, array $parameters, bool $claiming = false): object
    {
        try {
            $statement = $this->db->prepare($sql);
            $statement->execute($parameters);
            return $statement->fetchObject();
        } catch (PDOException $error) {
            if ($claiming && in_array($error->getCode(), self::NOT_JSONB, true)) {
                throw new Undone(self::problem(400));
            }
            if (preg_match('/^IK(400|409|412|413|422)$/', (string) $error->getCode(), $match)) {
                throw new Undone(self::problem((int) $match[1]));
            }
            throw $error;
        }
    }
}

DROP TABLE IF EXISTS payments;

CREATE TABLE payments (
	id       bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	account  text    NOT NULL,
	amount   integer NOT NULL,
	currency text    NOT NULL,
	status   text    NOT NULL DEFAULT 'pending',
	charge   text    UNIQUE
);

-- What the migration guide of EspressoBot makes, for a database that does not have it yet. {dim} is the width of the
-- vectors. Every statement may be repeated.
--
-- Not made here: the ivfflat indexes of the guide, which pgvector refuses above 2,000 numbers. An index that it takes
-- is built when the rows are there.

CREATE TABLE IF NOT EXISTS memories (
  id serial PRIMARY KEY,
  user_id varchar(255) NOT NULL,
  content text NOT NULL,
  embedding vector({dim}),
  metadata jsonb DEFAULT '{}',
  category varchar(100),
  importance_score double precision DEFAULT 1.0,
  access_count integer DEFAULT 0,
  last_accessed_at timestamp DEFAULT CURRENT_TIMESTAMP,
  created_at timestamp DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS prompt_fragments (
  id serial PRIMARY KEY,
  category varchar(100) NOT NULL,
  priority integer DEFAULT 0,
  content text NOT NULL,
  tags text[] DEFAULT '{}',
  embedding vector({dim}),
  agent_type varchar(100),
  context_tier varchar(20) DEFAULT 'standard' CHECK (context_tier IN ('core', 'standard', 'full')),
  is_active boolean DEFAULT true,
  created_at timestamp DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamp DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS memory_duplicates (
  id serial PRIMARY KEY,
  original_id integer REFERENCES memories (id) ON DELETE CASCADE,
  duplicate_hash varchar(64) NOT NULL,
  similarity_score double precision,
  dedup_type varchar(20) CHECK (dedup_type IN ('exact', 'fuzzy', 'key_phrase', 'semantic')),
  created_at timestamp DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS memory_analytics (
  id serial PRIMARY KEY,
  user_id varchar(255) NOT NULL,
  query_text text,
  results_count integer,
  response_time_ms integer,
  context_tier varchar(20),
  created_at timestamp DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX IF NOT EXISTS memories_user_idx ON memories (user_id);
CREATE INDEX IF NOT EXISTS memories_category_idx ON memories (category);
CREATE INDEX IF NOT EXISTS memories_importance_idx ON memories (importance_score DESC);
CREATE INDEX IF NOT EXISTS memories_access_idx ON memories (last_accessed_at DESC);
CREATE INDEX IF NOT EXISTS prompt_fragments_category_idx ON prompt_fragments (category);
CREATE INDEX IF NOT EXISTS prompt_fragments_agent_idx ON prompt_fragments (agent_type);
CREATE INDEX IF NOT EXISTS prompt_fragments_tier_idx ON prompt_fragments (context_tier);
CREATE INDEX IF NOT EXISTS prompt_fragments_priority_idx ON prompt_fragments (priority DESC);
CREATE INDEX IF NOT EXISTS memory_duplicates_hash_idx ON memory_duplicates (duplicate_hash);
CREATE INDEX IF NOT EXISTS memory_duplicates_original_idx ON memory_duplicates (original_id);
CREATE INDEX IF NOT EXISTS memory_analytics_user_idx ON memory_analytics (user_id);
CREATE INDEX IF NOT EXISTS memory_analytics_time_idx ON memory_analytics (created_at DESC);

CREATE OR REPLACE FUNCTION update_updated_at_column() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.updated_at := CURRENT_TIMESTAMP;
  RETURN NEW;
END
$$;

DROP TRIGGER IF EXISTS update_memories_updated_at ON memories;
CREATE TRIGGER update_memories_updated_at BEFORE UPDATE ON memories
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
DROP TRIGGER IF EXISTS update_prompt_fragments_updated_at ON prompt_fragments;
CREATE TRIGGER update_prompt_fragments_updated_at BEFORE UPDATE ON prompt_fragments
  FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();

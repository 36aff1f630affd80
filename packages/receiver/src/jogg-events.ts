/**
 * The 22 event types of the JoggAI webhook API with what their deliveries carry in `data`.
 * Made by scripts/generate-events.ts from the catalogue of the server: change it there.
 */

/** Video generation succeeded */
export interface GeneratedVideoSuccess {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the video can be downloaded. */
  video_url: string;
  /** Where its cover image can be downloaded. */
  cover_url: string;
  /** Length of the video in seconds. */
  duration: number;
  /** When the video was made, in unix seconds. */
  created_at: number;
}

/** Video generation failed */
export interface GeneratedVideoFailed {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Avatar creation succeeded */
export interface CreateAvatarSuccess {
  /** Id of the avatar. */
  avatar_id: number;
  /** Name of the avatar. */
  name: string;
  /** The job ended well. */
  status: 'completed';
  /** Where a preview video of the avatar can be watched. */
  preview_url: string;
  /** Where its cover image can be downloaded. */
  cover_url: string;
}

/** Avatar creation failed */
export interface CreateAvatarFailed {
  /** Id of the avatar. */
  avatar_id: number;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Image generation succeeded */
export interface GeneratedImageSuccess {
  /** Id of the image job. */
  task_id: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the images can be downloaded. */
  image_urls: string[];
}

/** Image generation failed */
export interface GeneratedImageFailed {
  /** Id of the image job. */
  task_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Motion generation succeeded */
export interface GeneratedMotionSuccess {
  /** Id of the motion. */
  motion_id: string;
  /** Id of the avatar. */
  avatar_id: number;
  /** Name of the avatar that moves. */
  name: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the image that was set in motion can be downloaded. */
  image_url: string;
  /** Where a preview video can be watched. */
  motion_preview_url: string;
  /** Id of the voice that the avatar speaks with. */
  voice_id: string;
}

/** Motion generation failed */
export interface GeneratedMotionFailed {
  /** Id of the motion. */
  motion_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Product video generation succeeded */
export interface GeneratedProductVideoSuccess {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the video can be downloaded. */
  video_url: string;
  /** Where its cover image can be downloaded. */
  cover_url: string;
  /** Length of the video in seconds. */
  duration: number;
  /** When the video was made, in unix seconds. */
  created_at: number;
}

/** Product video generation failed */
export interface GeneratedProductVideoFailed {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Avatar video generation succeeded */
export interface GeneratedAvatarVideoSuccess {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the video can be downloaded. */
  video_url: string;
  /** Where its cover image can be downloaded. */
  cover_url: string;
  /** Length of the video in seconds. */
  duration: number;
  /** When the video was made, in unix seconds. */
  created_at: number;
}

/** Avatar video generation failed */
export interface GeneratedAvatarVideoFailed {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Template video generation succeeded */
export interface GeneratedTemplateVideoSuccess {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the video can be downloaded. */
  video_url: string;
  /** Where its cover image can be downloaded. */
  cover_url: string;
  /** Length of the video in seconds. */
  duration: number;
  /** When the video was made, in unix seconds. */
  created_at: number;
}

/** Template video generation failed */
export interface GeneratedTemplateVideoFailed {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Video translation succeeded */
export interface GeneratedTranslateVideoSuccess {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the video can be downloaded. */
  video_url: string;
  /** Where its cover image can be downloaded. */
  cover_url: string;
  /** Length of the video in seconds. */
  duration: number;
  /** When the video was made, in unix seconds. */
  created_at: number;
  /** Where the subtitles in the target language can be downloaded. */
  subtitle_url: string;
}

/** Video translation failed */
export interface GeneratedTranslateVideoFailed {
  /** Id of the video. */
  video_id: string;
  /** The same id under its older name; receivers of v1 read it. */
  project_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Photo avatar creation succeeded */
export interface GeneratedPhotoAvatarSuccess {
  /** Id of the photo avatar. */
  photo_id: string;
  /** The job ended well. */
  status: 'completed';
  /** Where the photos can be downloaded. */
  image_url_list: string[];
}

/** Photo avatar creation failed */
export interface GeneratedPhotoAvatarFailed {
  /** Id of the photo avatar. */
  photo_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** Product avatar creation succeeded */
export interface GeneratedProductAvatarSuccess {
  /** Id of the avatar. */
  avatar_id: number;
  /** Name of the avatar. */
  name: string;
  /** The job ended well. */
  status: 'completed';
  /** Where a preview video of the avatar can be watched. */
  preview_url: string;
  /** Where its cover image can be downloaded. */
  cover_url: string;
}

/** Product avatar creation failed */
export interface GeneratedProductAvatarFailed {
  /** Id of the avatar. */
  avatar_id: number;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** AI script generation succeeded */
export interface GeneratedScriptSuccess {
  /** Id of the script job. */
  task_id: string;
  /** The job ended well. */
  status: 'completed';
  /** The scripts that were written, one for each style. */
  scripts: {
    /** Style that it is written in. */
    script_style: string;
    /** Its paragraphs in order. */
    script_paragraphs: string[];
  }[];
}

/** AI script generation failed */
export interface GeneratedScriptFailed {
  /** Id of the script job. */
  task_id: string;
  /** The job ended without a result. */
  status: 'failed';
  /** Why it failed. */
  error: {
    /** Number of the error, for programs. */
    code: number;
    /** The error in a sentence, for people. */
    message: string;
  };
}

/** The event types with the `data` of each. */
export interface JoggEvents {
  generated_video_success: GeneratedVideoSuccess;
  generated_video_failed: GeneratedVideoFailed;
  create_avatar_success: CreateAvatarSuccess;
  create_avatar_failed: CreateAvatarFailed;
  generated_image_success: GeneratedImageSuccess;
  generated_image_failed: GeneratedImageFailed;
  generated_motion_success: GeneratedMotionSuccess;
  generated_motion_failed: GeneratedMotionFailed;
  generated_product_video_success: GeneratedProductVideoSuccess;
  generated_product_video_failed: GeneratedProductVideoFailed;
  generated_avatar_video_success: GeneratedAvatarVideoSuccess;
  generated_avatar_video_failed: GeneratedAvatarVideoFailed;
  generated_template_video_success: GeneratedTemplateVideoSuccess;
  generated_template_video_failed: GeneratedTemplateVideoFailed;
  generated_translate_video_success: GeneratedTranslateVideoSuccess;
  generated_translate_video_failed: GeneratedTranslateVideoFailed;
  generated_photo_avatar_success: GeneratedPhotoAvatarSuccess;
  generated_photo_avatar_failed: GeneratedPhotoAvatarFailed;
  generated_product_avatar_success: GeneratedProductAvatarSuccess;
  generated_product_avatar_failed: GeneratedProductAvatarFailed;
  generated_script_success: GeneratedScriptSuccess;
  generated_script_failed: GeneratedScriptFailed;
}
